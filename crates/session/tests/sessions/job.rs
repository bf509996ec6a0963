//! A job as agents have them: a project of many files is copied in, built, served and copied out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axo_core::{Policy, Size};
use axo_image::{Reference, Silent, Store};
use axo_session::agent::proto::Status;
use axo_session::agent::{Copied, CopyLimits, Run};
use axo_session::{Network, PublishedPort, Session, SessionSpec, admit};

use crate::network::free_port;
use crate::site::{Site, eventually, noise, says, shell, site_with};

/// A Debian with a compiler and Python.
const IMAGE: &str = "axo.test/debian-build:bookworm";
/// Sources of the project.
const SOURCES: usize = 200;
/// Files of a tree as large as that of a project people clone.
const TREE: usize = 5000;
const LARGE: usize = 200_000_000;
const SERVER: u16 = 8000;

/// Tells how long something took.
async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let done = work.await;
    println!("{what}: {:.2} s", started.elapsed().as_secs_f64());
    done
}

/// The root file system, made once and kept.
#[expect(
    clippy::disallowed_methods,
    reason = "debootstrap makes the root file system"
)]
fn debian() -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-build");
    if !kept.exists() {
        // Made beside it, so that one half made is not taken for whole.
        let new = kept.with_extension("new");
        let _ = std::fs::remove_dir_all(&new);
        let made = std::process::Command::new("debootstrap")
            .args(["--variant=minbase", "--include=gcc,libc6-dev,make,python3"])
            .args(["bookworm".as_ref(), new.as_os_str()])
            .output()
            .expect("apt-get install debootstrap");
        assert!(made.status.success(), "{made:?}");
        // Images have no device nodes.
        std::fs::remove_dir_all(new.join("dev")).unwrap();
        std::fs::create_dir(new.join("dev")).unwrap();
        std::fs::rename(&new, &kept).unwrap();
    }
    kept
}

/// A C program of many sources, each of which adds its number.
fn project(directory: &Path) {
    let mut calls = String::new();
    for number in 0..SOURCES {
        let source = format!("int part_{number}(void) {{ return {number}; }}\n");
        std::fs::write(directory.join(format!("part_{number}.c")), source).unwrap();
        writeln!(calls, "int part_{number}(void);").unwrap();
    }
    let sum: Vec<String> = (0..SOURCES).map(|n| format!("part_{n}()")).collect();
    let main = format!(
        "#include <stdio.h>\n{calls}int main(void) {{ printf(\"%d\\n\", {}); }}\n",
        sum.join(" + ")
    );
    std::fs::write(directory.join("main.c"), main).unwrap();
    let makefile = "sum: $(patsubst %.c,%.o,$(wildcard *.c))\n\t$(CC) -o $@ $^\n";
    std::fs::write(directory.join("Makefile"), makefile).unwrap();
}

fn tree(root: &Path) {
    for number in 0..TREE {
        let directory = root.join(format!("part-{}/module-{}", number % 50, number % 250));
        std::fs::create_dir_all(&directory).unwrap();
        let content = noise(number % 4096);
        std::fs::write(directory.join(format!("file-{number}")), content).unwrap();
    }
}

/// Every regular file beneath a directory.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(root).unwrap().to_owned();
                found.insert(path, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

async fn session(site: &Site, directory: &Path, port: u16) -> Session {
    let name: Reference = IMAGE.parse().unwrap();
    let store = Store::open(&site.config.images).unwrap();
    store.import(&debian(), Some(&name), &Silent).unwrap();
    let mut spec = SessionSpec::new(IMAGE);
    spec.directory = Some(directory.to_owned());
    spec.network = Network::Bridge;
    spec.ports = vec![PublishedPort {
        host: port,
        session: SERVER,
    }];
    spec.limits.scratch = Size::from_mib(512);
    let admitted = admit(spec, &site.config.policy).unwrap();
    let made = site.sessions().create(&admitted, Arc::new(Silent)).await;
    made.unwrap()
}

fn get(port: u16, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|at| at == b"\r\n\r\n");
    let body = body.ok_or(std::io::ErrorKind::InvalidData)? + 4;
    Ok(answer.split_off(body))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_copied_in_built_served_and_copied_out() {
    let mut policy = Policy::default();
    policy.sessions.bridge = true;
    let site = site_with(policy);
    let work = site.path().canonicalize().unwrap().join("work");
    std::fs::create_dir(&work).unwrap();
    project(&work);
    let port = free_port();
    let session = timed("create", session(&site, &work, port)).await;
    let heard = AtomicUsize::new(0);
    let mut progress = |_: &Copied| {
        heard.fetch_add(1, Relaxed);
    };

    // Built in the directory of the host, at the same path in both.
    timed("make", says(&session, "make -s -j2")).await;
    let sum: usize = (0..SOURCES).sum();
    assert_eq!(says(&session, "./sum").await, format!("{sum}\n"));
    assert!(work.join("sum").is_file());
    assert_eq!(says(&session, "make").await, "make: 'sum' is up to date.\n");
    let broken = shell(&session, "echo 'int x = ;' > broken.c; cc -c broken.c").await;
    assert_eq!(broken.exited.status, Status::Code(1));
    assert!(String::from_utf8_lossy(&broken.stderr).contains("broken.c:1:"));

    let from = site.path().join("tree");
    tree(&from);
    let scratch = session.files("/tmp").unwrap();
    let went = scratch.copy_in(&from, Path::new("tree"), &mut progress);
    let went = timed("a tree in", went).await.unwrap();
    assert_eq!(went.files, TREE as u64);
    let counted = says(&session, "find /tmp/tree -type f | wc -l").await;
    assert_eq!(counted, format!("{TREE}\n"));
    says(&session, "cp -r /tmp/tree /tmp/twin").await;
    let back = site.path().join("twin");
    let limits = CopyLimits::default();
    let came = scratch.copy_out(Path::new("twin"), &back, limits, &mut progress);
    assert_eq!(timed("a tree out", came).await.unwrap(), went);
    assert!(files(&from) == files(&back));

    let large = site.path().join("large");
    std::fs::write(&large, noise(LARGE)).unwrap();
    let went = scratch.copy_in(&large, Path::new("large"), &mut progress);
    timed("200 MB in", went).await.unwrap();
    let back = site.path().join("large-back");
    let came = scratch.copy_out(Path::new("large"), &back, limits, &mut progress);
    timed("200 MB out", came).await.unwrap();
    assert!(std::fs::read(&large).unwrap() == std::fs::read(&back).unwrap());
    assert!(heard.load(Relaxed) > 2 * TREE);

    let serve = format!("exec python3 -m http.server --directory /tmp {SERVER}");
    let server = Run::new(["/bin/sh", "-c", &serve]).in_background();
    let server = session.run(server).await.unwrap().id();
    eventually("the server answers", async || {
        get(port, "/").is_ok_and(|page| !page.is_empty())
    })
    .await;
    let served = get(port, "/tree/part-7/module-7/file-4007").unwrap();
    assert!(served == noise(4007));
    session.signal(server, 15).await.unwrap();
    eventually("the server is gone", async || get(port, "/").is_err()).await;

    // Output, and names of files, are bytes.
    let every = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 1000)";
    let run = Run::new(["python3", "-c", every]);
    let output = session.output(run, 1 << 20).await.unwrap();
    let expected: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(1000);
    assert!(output.stdout == expected && !output.cut);
    says(
        &session,
        "mkdir /tmp/odd; printf x > \"$(printf '/tmp/odd/\\377')\"",
    )
    .await;
    let odd = site.path().join("odd");
    let copied = scratch.copy_out(Path::new("odd"), &odd, limits, &mut progress);
    copied.await.unwrap();
    let names: Vec<_> = files(&odd).into_keys().collect();
    assert_eq!(names[0].as_os_str().as_bytes(), b"\xff");

    let sessions = site.sessions();
    sessions.remove(&session).await.unwrap();
    assert!(site.containers().is_empty());
}
