//! Pulling from registries that work, at the second try at least.

use std::io::Write;

use axo_image::{Auth, Digest, ImageError, Platform, PullOptions, Silent};

use crate::fake::{Answer, Fake};
use crate::network::{Fault, Proxy, Registry, options};
use crate::support::{Home, Made, Tar, chain, gzip, home, names, reference, refuse_import};

/// Bytes that do not compress: about four megabytes.
pub(crate) fn large_layer() -> Vec<u8> {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(4 << 20)
    .collect();
    gzip(
        &Tar::new()
            .entry(tar::EntryType::Regular, "noise", 0o644, "", &noise)
            .end(),
    )
}

pub(crate) async fn pull(
    home: &Home,
    address: &str,
    name: &str,
    options: &PullOptions,
) -> Result<axo_image::Image, ImageError> {
    home.store
        .pull(&reference(&format!("{address}/{name}")), options, &Silent)
        .await
}

pub(crate) fn nothing_is_kept(home: &Home) {
    assert!(home.store.list().unwrap().is_empty());
    assert_eq!(names(&home.store.root().join("staging")), [""; 0]);
    home.store.gc(false).unwrap();
    home.assert_clean();
    assert_eq!(names(&home.store.root().join("blobs/sha256")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_pulled() {
    let registry = Registry::start();
    let layers = [
        gzip(&Tar::new().file("a", "1").end()),
        gzip(&Tar::new().file("b", "2").end()),
    ];
    let digest = registry.push("team/tool:1", &layers, &Made::default());
    let home = home();
    let image = pull(&home, &registry.address, "team/tool:1", &options())
        .await
        .unwrap();
    assert_eq!(image.digest, digest.as_str());
    let name = format!("{}/team/tool:1", registry.address);
    assert_eq!(image.references, std::slice::from_ref(&name));
    assert_eq!(
        home.store.find(&format!("{name}@{digest}")).unwrap().digest,
        image.digest
    );
    let rootfs = home.store.rootfs(&image, &Silent).unwrap();
    assert!(rootfs.path().join("a").is_file() && rootfs.path().join("b").is_file());
    home.assert_clean();

    // By digest, with everything here already.
    drop(rootfs);
    let by_digest = pull(
        &home,
        &registry.address,
        &format!("team/tool@{digest}"),
        &options(),
    )
    .await
    .unwrap();
    assert_eq!(by_digest.references.len(), 2);
    home.store.remove(&name).unwrap();
    assert!(
        home.store
            .remove(&format!("{}/team/tool@{digest}", registry.address))
            .unwrap()
            .image
    );
    nothing_is_kept(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_are_not_there() {
    let registry = Registry::start();
    registry.push(
        "tool:1",
        &[Tar::new().file("a", "1").end()],
        &Made::default(),
    );
    let home = home();
    for name in ["tool:2", "other:1"] {
        let error = pull(&home, &registry.address, name, &options())
            .await
            .unwrap_err();
        assert!(matches!(error, ImageError::NoSuchImage { .. }), "{error}");
    }
    let made = Made {
        platform: Platform {
            os: "linux".into(),
            architecture: "s390x".into(),
        },
        ..Made::default()
    };
    registry.push("tool:s390x", &[Tar::new().file("a", "1").end()], &made);
    let error = pull(&home, &registry.address, "tool:s390x", &options())
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Platform { .. }), "{error}");
    nothing_is_kept(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials() {
    let registry = Registry::start_with(true);
    registry.push(
        "tool:1",
        &[Tar::new().file("a", "1").end()],
        &Made::default(),
    );
    let home = home();
    let with = |username: &str, password: &str| PullOptions {
        auth: Auth::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        },
        ..options()
    };
    for options in [options(), with("me", "wrong"), with("other", "secret")] {
        let error = pull(&home, &registry.address, "tool:1", &options)
            .await
            .unwrap_err();
        assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
        assert!(
            !chain(&error).contains("wrong") && !chain(&error).contains("secret"),
            "{error}"
        );
    }
    nothing_is_kept(&home);
    pull(&home, &registry.address, "tool:1", &with("me", "secret"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_broke_goes_on_where_it_stopped() {
    let registry = Registry::start();
    let layer = large_layer();
    let digest = registry.push("tool:1", std::slice::from_ref(&layer), &Made::default());
    let proxy = Proxy::start(&registry.address, 2 << 20, Fault::Cut);
    let home = home();
    let error = pull(&home, &proxy.address, "tool:1", &options())
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Registry { .. }), "{error}");
    assert!(error.to_string().contains("pull again"), "{error}");
    assert!(home.store.list().unwrap().is_empty());
    let partial = home
        .store
        .root()
        .join("partial")
        .join(Digest::of(&layer).hex());
    let kept = partial.metadata().unwrap().len();
    assert!(kept > 1 << 20, "{kept}");
    // A refused import clears up after itself alone.
    refuse_import(&home);
    assert_eq!(partial.metadata().unwrap().len(), kept);

    proxy.mend();
    let image = pull(&home, &proxy.address, "tool:1", &options())
        .await
        .unwrap();
    assert_eq!(image.digest, digest.as_str());
    assert!(
        proxy.requests().contains(&format!("range: bytes={kept}-")),
        "{}",
        proxy.requests()
    );
    home.store.rootfs(&image, &Silent).unwrap();
    home.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_download_that_was_changed_is_fetched_anew() {
    let registry = Registry::start();
    let layer = large_layer();
    registry.push("tool:1", std::slice::from_ref(&layer), &Made::default());
    let home = home();
    let partial = home
        .store
        .root()
        .join("partial")
        .join(Digest::of(&layer).hex());
    for left in [
        vec![7; 1000],
        vec![7; layer.len()],
        vec![7; layer.len() + 1000],
    ] {
        std::fs::File::create(&partial)
            .unwrap()
            .write_all(&left)
            .unwrap();
        pull(&home, &registry.address, "tool:1", &options())
            .await
            .unwrap();
        home.assert_clean();
        home.store
            .remove(&format!("{}/tool:1", registry.address))
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_at_once_fetch_once() {
    let registry = Registry::start();
    registry.push("tool:1", &[large_layer()], &Made::default());
    let proxy = Proxy::start(&registry.address, i64::MAX, Fault::Cut);
    let home = home();
    let options = options();
    let (one, two) = tokio::join!(
        pull(&home, &proxy.address, "tool:1", &options),
        pull(&home, &proxy.address, "tool:1", &options)
    );
    assert_eq!(one.unwrap().digest, two.unwrap().digest);
    let layer = format!("/blobs/{}", Digest::of(&large_layer()));
    assert_eq!(proxy.requests().matches(&layer).count(), 1);
    home.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_leads_to_the_image_for_this_machine() {
    let registry = Registry::start();
    let ours = registry.push(
        "tool:1",
        &[gzip(&Tar::new().file("a", "1").end())],
        &Made::default(),
    );
    let made = Made {
        platform: Platform {
            os: "linux".into(),
            architecture: "s390x".into(),
        },
        ..Made::default()
    };
    let theirs = registry.push("tool:2", &[gzip(&Tar::new().file("a", "2").end())], &made);
    let entry = |digest: &Digest, architecture: &str| {
        let size = std::fs::metadata(registry.blob(digest)).unwrap().len();
        serde_json::json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": size,
            "platform": { "os": "linux", "architecture": architecture } })
    };
    let index = |entries: &[serde_json::Value]| {
        serde_json::json!({ "schemaVersion": 2, "manifests": entries,
            "mediaType": "application/vnd.oci.image.index.v1+json" })
        .to_string()
    };
    let host = Platform::host().architecture;
    let both = index(&[entry(&theirs, "s390x"), entry(&ours, &host)]);
    registry.put_index("tool", "both", &both);
    registry.put_index("tool", "other", &index(&[entry(&theirs, "s390x")]));
    let home = home();
    let image = pull(&home, &registry.address, "tool:both", &options())
        .await
        .unwrap();
    assert_eq!(image.digest, ours.as_str());
    // The index's digest is what people pin, and finds it.
    let pinned = format!(
        "{}/tool:both@{}",
        registry.address,
        Digest::of(both.as_bytes())
    );
    assert_eq!(home.store.find(&pinned).unwrap().digest, image.digest);
    assert!(home.store.gc(false).unwrap().items.is_empty());
    let error = pull(&home, &registry.address, "tool:other", &options())
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Platform { .. }), "{error}");
    home.store.remove(&pinned).unwrap();
    nothing_is_kept(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_tokens() {
    let registry = Registry::start();
    registry.push(
        "tool:1",
        &[gzip(&Tar::new().file("a", "1").end())],
        &Made::default(),
    );
    let blobs: std::collections::HashMap<String, Vec<u8>> = registry.blobs();
    // The first token is for one request only.
    let uses = std::sync::atomic::AtomicUsize::new(0);
    let tokens = std::sync::atomic::AtomicUsize::new(0);
    let manifest = registry.manifest("tool", "1");
    let fake = Fake::start(move |request| {
        use std::sync::atomic::Ordering::SeqCst;
        let text = request.to_lowercase();
        if text.starts_with("get /token?") {
            // me:secret
            if !text.contains("authorization: basic bwu6c2vjcmv0") {
                return Answer::whole("401 Unauthorized", "", "no");
            }
            uses.store(0, SeqCst);
            let number = tokens.fetch_add(1, SeqCst);
            return Answer::whole("200 OK", "", &format!(r#"{{"token":"t{number}"}}"#));
        }
        let host = text
            .split("host: ")
            .nth(1)
            .unwrap()
            .split('\r')
            .next()
            .unwrap();
        let challenge =
            format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"\r\n");
        let current = format!(
            "authorization: bearer t{}",
            tokens.load(SeqCst).wrapping_sub(1)
        );
        if !text.contains(&current) || uses.fetch_add(1, SeqCst) > 0 {
            return Answer::whole("401 Unauthorized", &challenge, "");
        }
        if text.contains("/manifests/") {
            return Answer::bytes("200 OK", "", &manifest);
        }
        let hex = text
            .split("sha256:")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        Answer::bytes("200 OK", "", &blobs[hex])
    });
    let home = home();
    let with = |password: &str| PullOptions {
        auth: Auth::Basic {
            username: "me".to_owned(),
            password: password.to_owned(),
        },
        ..options()
    };
    let error = pull(&home, &fake.address, "tool:1", &with("wrong"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ImageError::Unauthorized { .. }),
        "{}",
        chain(&error)
    );
    pull(&home, &fake.address, "tool:1", &with("secret"))
        .await
        .unwrap();
    home.assert_clean();
}
