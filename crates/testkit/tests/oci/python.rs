//! Real input: a Debian with Python, imported, and pulled from a real registry; in it a tool that
//! reads a table of 100,000 rows.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axocoatl_isolation::images::{Image, InsecureHttp, PullOptions, Reference, Silent, Store};
use axocoatl_isolation::{
    AuditLog, Compiler, Document, Engine, Outcome, Places, Policy, Run, Termination, ToolCall,
    ToolName,
};
use serde_json::{Value, json};

use crate::common::csv::{NAME, same_numbers, table};
use crate::host::{Before, alone};
use crate::registry::{Registry, run};
use crate::site::{answer, block_on, chain};

const TOOL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../examples/tools/csv-stats-image"
);

/// Tells how long something took.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    println!("{what}: {:.2} s", start.elapsed().as_secs_f64());
    done
}

/// A Debian with Python, made once and kept.
fn debian() -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-python");
    if !kept.exists() {
        // Made beside it, so that one half made is not taken for whole.
        let new = kept.with_extension("new");
        let _ = std::fs::remove_dir_all(&new);
        let arguments = ["--variant=minbase", "--include=python3", "bookworm"];
        let arguments = [&arguments[..], &[new.to_str().unwrap()]].concat();
        timed("debootstrap", || {
            run("debootstrap", "debootstrap", &arguments)
        });
        // Images have no device nodes.
        std::fs::remove_dir_all(new.join("dev")).unwrap();
        std::fs::create_dir(new.join("dev")).unwrap();
        std::fs::rename(&new, &kept).unwrap();
    }
    kept
}

/// An OCI layout of an image in the store, which shares its blobs.
fn layout(store: &Store, image: &Image, directory: &Path) -> PathBuf {
    let layout = directory.join("layout");
    std::fs::create_dir_all(layout.join("blobs")).unwrap();
    let blobs = store.root().join("blobs/sha256");
    symlink(&blobs, layout.join("blobs/sha256")).unwrap();
    let hex = image.digest.strip_prefix("sha256:").unwrap();
    let size = std::fs::metadata(blobs.join(hex)).unwrap().len();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.digest,
            "size": size,
        }],
    });
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let version = json!({"imageLayoutVersion": "1.0.0"});
    std::fs::write(layout.join("oci-layout"), version.to_string()).unwrap();
    layout
}

/// An engine over `home`, and the example tool; run from `image` if it is not the manifest's.
fn engine(home: &Path, image: Option<&str>, warm: usize) -> (Engine, ToolName) {
    let builder = || {
        Engine::builder()
            .places(Places::under(home))
            .policy(Policy::default())
            .tool_roots(Vec::new())
            .audit(AuditLog::off())
            .compiler(Compiler::InProcess)
            .warm_containers(warm)
    };
    let directory = Path::new(TOOL).canonicalize().unwrap();
    let (as_is, name) = builder().tool_directory(&directory).unwrap();
    let as_is = as_is.build().unwrap();
    let Some(image) = image else {
        return (as_is, name);
    };
    let mut spec = (**as_is.registry().find(&name).unwrap().spec()).clone();
    let Run::Image { reference, .. } = &mut spec.run else {
        panic!("the example is an image: {:?}", spec.run);
    };
    image.clone_into(reference);
    (builder().tool(spec).build().unwrap(), name)
}

async fn statistics(engine: &Engine, name: &ToolName, csv: &str) -> Outcome {
    let start = Instant::now();
    let call = ToolCall::new(name.clone(), json!({"csv": csv}));
    let outcome = engine.call(call).await;
    let outcome = outcome.unwrap_or_else(|error| panic!("{}", chain(&error)));
    println!(
        "  {} bytes of CSV: {:?} in all; wall {:?}, processor {:?}, memory {:?} MiB",
        csv.len(),
        start.elapsed(),
        outcome.usage.wall,
        outcome.usage.cpu,
        outcome.usage.peak_memory.map(|bytes| bytes >> 20),
    );
    outcome
}

/// All that the tool is asked, of one store.
async fn check(home: &Path, image: Option<&str>) {
    let (engine, name) = engine(home, image, 1);
    let (csv, expected) = table();
    println!("first call, which unpacks the image:");
    let small = "city,people\nBern,134\nBasel,173\n";
    let found = answer(Ok(statistics(&engine, &name, small).await));
    assert_eq!(found["columns"][1]["mean"], 153.5, "{found}");
    println!("100,000 rows:");
    let outcome = statistics(&engine, &name, &csv).await;
    same_numbers(&answer(Ok(outcome)), &expected);
    println!("warm:");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let outcome = statistics(&engine, &name, small).await;
    assert!(
        outcome
            .digest
            .as_deref()
            .is_some_and(|d| d.starts_with("sha256:"))
    );
    // What the tool itself refuses is its own failure.
    let outcome = statistics(&engine, &name, "a,b\n1\n").await;
    assert_eq!(outcome.termination, Termination::Exited(1));
    let log = String::from_utf8_lossy(&outcome.stderr);
    assert!(log.contains("line 2 has 1 fields"), "{log}");
    cases(&engine, &name).await;
}

/// The cases that lie beside the tool.
async fn cases(engine: &Engine, name: &ToolName) {
    let text = std::fs::read(Path::new(TOOL).join("cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&text).unwrap();
    for case in &cases {
        let input = Document::from(case["input"].clone());
        let outcome = engine.call(ToolCall::new(name.clone(), input)).await;
        let outcome = outcome.unwrap_or_else(|error| panic!("{case}: {}", chain(&error)));
        match case.get("output") {
            Some(expected) => same_numbers(&answer(Ok(outcome)), expected),
            None => assert_eq!(
                outcome.exit_code().map(Value::from),
                Some(case["exit_code"].clone())
            ),
        }
    }
    println!("  {} cases", cases.len());
}

#[test]
fn a_python_tool_runs_in_an_imported_debian_and_in_the_same_pulled_from_a_registry() {
    let _alone = alone();
    let debian = debian();
    let homes = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name: Reference = NAME.parse().unwrap();

    let store = Store::open(&Places::under(homes.0.path()).images()).unwrap();
    let image = timed("import", || {
        store.import(&debian, Some(&name), &Silent).unwrap()
    });
    println!("{} bytes of blobs, {}", image.size, image.digest);
    block_on(check(homes.0.path(), None));
    let before = Before::now();

    // The very same image: its digest is the one under which it is pulled.
    let registry = Registry::start();
    let layout = layout(&store, &image, homes.1.path());
    timed("push", || registry.push(&layout, "debian-python:bookworm"));
    let pinned = format!("{}/debian-python@{}", registry.address, image.digest);
    let reference: Reference = pinned.parse().unwrap();
    let second = Store::open(&Places::under(homes.1.path()).images()).unwrap();
    let options = PullOptions {
        insecure_http: InsecureHttp::Loopback,
        ..PullOptions::default()
    };
    let pulled = timed("pull", || {
        block_on(second.pull(&reference, &options, &Silent)).unwrap()
    });
    assert_eq!(pulled.digest, image.digest);
    assert_eq!(pulled.rootfs_key(), image.rootfs_key());
    // What is there needs no registry any more.
    drop(registry);
    block_on(check(homes.1.path(), Some(&pinned)));
    before.nothing_came(0);
}
