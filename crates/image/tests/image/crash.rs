//! Processes that are killed half-way. The child is this test program again.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use axo_image::{Progress, Silent, Step, Store};

use crate::support::{Tar, home, names};

/// Set in the child: what to do, and where.
const STEP: &str = "AXO_IMAGE_TEST_CRASH";

/// Says that it has begun, then waits for its end.
struct Halt(std::path::PathBuf);

impl Progress for Halt {
    fn begin(&self, _what: &str, _total: Option<u64>) -> Box<dyn Step + '_> {
        Box::new(Self(self.0.clone()))
    }
}

impl Step for Halt {
    fn advance(&self, _bytes: u64) {
        std::fs::write(&self.0, "").unwrap();
        std::thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn child() {
    let Ok(step) = std::env::var(STEP) else {
        return;
    };
    let mut parts = step.split('\n');
    let mut next = || parts.next().unwrap();
    let (what, root, marker, argument) = (next(), next(), next(), next());
    let store = Store::open(root.as_ref()).unwrap();
    let halt = Halt(marker.into());
    match what {
        "unpack" => drop(store.rootfs(&store.find(argument).unwrap(), &halt)),
        _ => drop(store.import(argument.as_ref(), None, &halt)),
    }
}

#[expect(clippy::disallowed_methods, reason = "a process to kill")]
fn start(step: &str) -> Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--test-threads=1"])
        .env(STEP, step)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Starts it, waits until it is half-way, and looks whether it is left alone; then kills it.
fn half_way(home: &crate::support::Home, what: &str, argument: &str) {
    let marker = home.path("begun");
    let root = home.store.root().display();
    let mut child = start(&format!("{what}\n{root}\n{}\n{argument}", marker.display()));
    let start = Instant::now();
    while !marker.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "it does not begin"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(
        home.store.gc(false).unwrap().items.is_empty(),
        "what lives is left alone"
    );
    assert_eq!(names(&home.store.root().join("staging")).len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(&marker).unwrap();
}

#[test]
fn killed_while_unpacking() {
    let home = home();
    let layers = [
        Tar::new().file("a", "1").end(),
        Tar::new().file("b", "1").end(),
    ];
    let image = home.import(&layers).unwrap();
    half_way(&home, "unpack", &image.digest);
    assert_eq!(home.store.gc(true).unwrap().items.len(), 1);
    home.store.gc(false).unwrap();
    home.assert_clean();
    let rootfs = home.store.rootfs(&image, &Silent).unwrap();
    assert!(rootfs.path().join("b").is_file());
}

#[test]
fn killed_while_importing() {
    let home = home();
    let source = home.path("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("f"), "x").unwrap();
    half_way(&home, "import", source.to_str().unwrap());
    // Opening is enough.
    let store = Store::open(home.store.root()).unwrap();
    home.assert_clean();
    assert!(store.gc(true).unwrap().items.is_empty());
    assert!(store.list().unwrap().is_empty());
    store.import(&source, None, &Silent).unwrap();
}
