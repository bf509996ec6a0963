//! Installations of small programs and kernels.

use std::fs;

use super::*;
use crate::artifacts::ArtifactsError;
use crate::testing::{RELEASE, kernel_package, program};

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn programs(&self, firecracker: &str, jailer: &str) -> FirecrackerSource {
        FirecrackerSource::Given {
            firecracker: program(self.0.path(), &format!("echo 'Firecracker v{firecracker}'")),
            jailer: program(self.0.path(), &format!("echo 'Jailer v{jailer}'")),
        }
    }

    fn kernel(&self, release: &str) -> KernelSource {
        let kernel = self.0.path().join(release);
        fs::write(&kernel, kernel_package(release)).unwrap();
        KernelSource::Given {
            kernel,
            modules: None,
        }
    }

    async fn install(&self, version: &str, release: &str) -> Artifacts {
        let (programs, kernel) = (self.programs(version, version), self.kernel(release));
        install(&self.data(), &programs, &kernel).await.unwrap()
    }

    /// Everything below the data directory.
    fn listing(&self) -> Vec<PathBuf> {
        fn walk(path: &Path, all: &mut Vec<PathBuf>) {
            for name in files::names(path).unwrap() {
                let path = path.join(name);
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, all);
                }
                all.push(path);
            }
        }
        let mut all = Vec::new();
        walk(&self.data(), &mut all);
        all
    }
}

#[tokio::test]
async fn what_was_installed_is_found() {
    let home = Home::new();
    assert!(matches!(
        Artifacts::open(&home.data()),
        Err(ArtifactsError::NotSetUp { .. })
    ));
    let installed = home.install("1.14.4", RELEASE).await;
    let found = Artifacts::open(&home.data()).unwrap();
    assert_eq!(found.versions, installed.versions);
    assert_eq!(found.versions.firecracker.version, "1.14.4");
    assert_eq!(found.versions.jailer.version, "1.14.4");
    assert_eq!(found.versions.kernel.version, RELEASE);
    assert!(found.versions.kernel.from.ends_with(RELEASE));
    assert_eq!(found.modules.len(), 8);
    assert!(found.modules[7].ends_with("kernel/modules/07-overlay.ko"));
    assert_eq!(
        fs::read(&found.kernel).unwrap(),
        crate::testing::kernel(RELEASE)
    );
    found.verify().unwrap();
}

#[tokio::test]
async fn installing_again_replaces_and_what_is_used_stays() {
    let home = Home::new();
    let first = home.install("1.14.4", RELEASE).await;
    let second = home.install("1.15.1", "6.2.0-test").await;
    assert_eq!(second.versions.kernel.version, "6.2.0-test");
    first.verify().unwrap();
    let third = home.install("1.15.1", "6.2.0-test").await;
    first.verify().unwrap();
    let gone = [first.kernel.clone(), second.kernel.clone()];
    drop((first, second));
    crate::gc::gc(&home.data(), &home.data(), &|_| true, false).unwrap();
    assert!(!gone.iter().any(|path| path.exists()));
    third.verify().unwrap();
}

#[tokio::test]
async fn a_part_can_stay() {
    let home = Home::new();
    let (programs, kernel) = (home.programs("1.15.1", "1.15.1"), home.kernel("6.2.0-test"));
    let stay = (FirecrackerSource::Installed, KernelSource::Installed);
    let nothing = install(&home.data(), &stay.0, &kernel).await;
    assert!(matches!(nothing, Err(SetupError::Installed(_))));
    let first = home.install("1.14.4", RELEASE).await;
    let kernel = install(&home.data(), &stay.0, &kernel).await.unwrap();
    assert_eq!(kernel.versions.firecracker, first.versions.firecracker);
    assert_eq!(kernel.versions.kernel.version, "6.2.0-test");
    let programs = install(&home.data(), &programs, &stay.1).await.unwrap();
    assert_eq!(programs.versions.firecracker.version, "1.15.1");
    assert_eq!(programs.versions.kernel, kernel.versions.kernel);
    // What is damaged does not stay.
    fs::remove_file(&programs.kernel).unwrap();
    fs::write(&programs.kernel, "damaged").unwrap();
    assert!(install(&home.data(), &stay.0, &stay.1).await.is_err());
}

#[tokio::test]
async fn what_fails_changes_nothing() {
    let home = Home::new();
    home.install("1.14.4", RELEASE).await;
    let before = home.listing();
    let good = || (home.programs("1.15.1", "1.15.1"), home.kernel("6.2.0-test"));
    let no_kernel = KernelSource::Given {
        kernel: home.0.path().join("absent"),
        modules: None,
    };
    for (firecracker, kernel, said) in [
        (
            home.programs("1.15.1", "1.14.4"),
            good().1,
            "it is version 1.14.4",
        ),
        (
            home.programs("1.15.1", "x y"),
            good().1,
            "does not say `Jailer v…`",
        ),
        (good().0, no_kernel, "check the path"),
        (
            good().0,
            KernelSource::Given {
                kernel: program(home.0.path(), ""),
                modules: None,
            },
            "neither an ELF",
        ),
    ] {
        let error = install(&home.data(), &firecracker, &kernel)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(home.listing(), before);
    }
    Artifacts::open(&home.data()).unwrap().verify().unwrap();
}

#[tokio::test]
async fn damage_is_seen() {
    let home = Home::new();
    let artifacts = home.install("1.14.4", RELEASE).await;
    let kernel = &artifacts.kernel;
    let good = fs::read(kernel).unwrap();
    let put = |bytes: &[u8]| {
        fs::remove_file(kernel).unwrap();
        fs::write(kernel, bytes).unwrap();
    };
    let open = || Artifacts::open(&home.data()).map(drop);
    // Written anew, as by a restored backup: then the digest counts.
    put(&good);
    open().unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    put(&bad);
    assert!(matches!(open(), Err(ArtifactsError::Damaged { path, .. }) if path == *kernel));
    assert!(artifacts.verify().is_err());
    put(&good[1..]);
    assert!(open().unwrap_err().to_string().contains("bytes instead of"));
    put(&good);
    open().unwrap();
    let record = kernel.with_file_name("../setup.json");
    let text = fs::read_to_string(&record).unwrap();
    for (from, to) in [
        ("bin/jailer", "../../jailer"),
        ("\"format\": 1", "\"format\": 2"),
        ("{", ""),
    ] {
        fs::remove_file(&record).unwrap();
        fs::write(&record, text.replacen(from, to, 1)).unwrap();
        assert!(
            matches!(open(), Err(ArtifactsError::Damaged { .. })),
            "{from}"
        );
    }
    fs::remove_file(kernel).unwrap();
    fs::write(&record, text).unwrap();
    assert!(open().unwrap_err().to_string().contains("it is gone"));
    fs::remove_dir_all(kernel.parent().unwrap().parent().unwrap()).unwrap();
    assert!(open().unwrap_err().to_string().contains("install it again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_while_others_install_gets_one_whole_installation() {
    let home = Home::new();
    home.install("1.0.0", "6.0.0-test").await;
    let (data, stop) = (home.data(), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let artifacts = Artifacts::open(&data).unwrap();
                let versions = &artifacts.versions;
                assert_eq!(
                    versions.firecracker.version.replace("0.0", "0.0-test"),
                    versions.kernel.version.replacen('6', "1", 1)
                );
                artifacts.verify().unwrap();
                seen += 1;
            }
            seen
        });
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            for _ in 0..10 {
                runtime.block_on(home.install("1.0.0", "6.0.0-test"));
            }
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
}
