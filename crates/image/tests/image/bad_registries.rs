//! Registries that are broken, slow, or lie.

use std::time::Duration;

use axo_image::{Digest, ImageError, InsecureHttp, PullOptions};

use crate::fake::{Answer, Fake};
use crate::network::{Fault, Proxy, Registry, options};
use crate::pulls::{large_layer, nothing_is_kept, pull};
use crate::support::{Made, Tar, chain, gzip, home};

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stalls() {
    let registry = Registry::start();
    registry.push("tool:1", &[large_layer()], &Made::default());
    let home = home();
    for (bytes, deadline) in [(0, 60), (1 << 20, 60), (1 << 20, 2)] {
        let proxy = Proxy::start(&registry.address, bytes, Fault::Stall);
        let options = PullOptions {
            idle_timeout: if deadline == 2 {
                Duration::from_secs(60)
            } else {
                Duration::from_secs(1)
            },
            deadline: Duration::from_secs(deadline),
            retries: 0,
            ..options()
        };
        let error = pull(&home, &proxy.address, "tool:1", &options)
            .await
            .unwrap_err();
        let text = chain(&error);
        assert!(
            matches!(
                error,
                ImageError::Stalled { .. } | ImageError::Registry { .. }
            ),
            "{text}"
        );
    }
    nothing_is_kept(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_registry_at_all() {
    let home = home();
    let error = pull(&home, "127.0.0.1:1", "tool:1", &options())
        .await
        .unwrap_err();
    assert!(matches!(error, ImageError::Registry { .. }), "{error}");
    nothing_is_kept(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_tls_is_refused_unless_allowed() {
    let registry = Registry::start();
    let layer = gzip(&Tar::new().file("a", "1").end());
    registry.push("tool:1", &[layer], &Made::default());
    let home = home();
    let with = |insecure_http| PullOptions {
        insecure_http,
        ..options()
    };
    let proxy = Proxy::start(&registry.address, i64::MAX, Fault::Cut);
    let error = pull(&home, &proxy.address, "tool:1", &with(InsecureHttp::Never))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ImageError::InsecureRegistry { registry, .. } if *registry == proxy.address),
        "{}",
        chain(&error)
    );
    assert!(error.to_string().contains("--insecure-http"), "{error}");
    assert!(!proxy.requests().contains("get "), "it was asked nothing");
    nothing_is_kept(&home);
    pull(
        &home,
        &proxy.address,
        "tool:1",
        &with(InsecureHttp::Loopback),
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_changed_or_cut_at_the_registry() {
    let layer = large_layer();
    for change in ["flip", "cut", "longer"] {
        let registry = Registry::start();
        registry.push("tool:1", std::slice::from_ref(&layer), &Made::default());
        let mut bytes = layer.clone();
        match change {
            "flip" => {
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
            }
            "cut" => bytes.truncate(1 << 20),
            _ => bytes.extend([0; 4096]),
        }
        std::fs::write(registry.blob(&Digest::of(&layer)), bytes).unwrap();
        let home = home();
        let error = pull(&home, &registry.address, "tool:1", &options())
            .await
            .unwrap_err();
        let right = match change {
            "flip" => matches!(error, ImageError::Digest { .. }),
            "cut" => matches!(error, ImageError::Registry { .. }),
            _ => matches!(error, ImageError::Size { .. }),
        };
        assert!(right, "{change}: {}", chain(&error));
        nothing_is_kept(&home);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_manifest_behind_a_digest() {
    let registry = Registry::start();
    let digest = registry.push(
        "tool:1",
        &[gzip(&Tar::new().file("a", "1").end())],
        &Made::default(),
    );
    let other = registry.push(
        "tool:2",
        &[gzip(&Tar::new().file("a", "2").end())],
        &Made::default(),
    );
    std::fs::copy(registry.blob(&other), registry.blob(&digest)).unwrap();
    let home = home();
    let name = format!("tool:1@{digest}");
    let error = pull(&home, &registry.address, &name, &options())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::Digest { .. } | ImageError::Registry { .. }
        ),
        "{}",
        chain(&error)
    );
    nothing_is_kept(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_end() {
    let home = home();
    for status in ["200 OK", "404 Not Found"] {
        let fake = Fake::start(move |request| {
            if request.starts_with("GET /v2/ ") {
                return Answer::whole("200 OK", "", "{}");
            }
            Answer {
                endless: true,
                ..Answer::whole(status, "", "{")
            }
        });
        let error = pull(&home, &fake.address, "tool:1", &options())
            .await
            .unwrap_err();
        let right = if status.starts_with("200") {
            matches!(error, ImageError::TooLarge { .. })
        } else {
            matches!(error, ImageError::NoSuchImage { .. })
        };
        assert!(right, "{}", chain(&error));
    }
    nothing_is_kept(&home);
}
