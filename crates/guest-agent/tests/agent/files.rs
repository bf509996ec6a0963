//! Files, and attempts to leave their root.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axo_guest_proto::files::{
    Entry, FileKind, How, List, MakeDirectory, MakeLink, Move, Owner, Place, Read, Stat, Write,
};
use axo_guest_proto::{Code, Kind, Reply, Request};
use rustix::fs::{Mode, OFlags, mkdirat, openat};

use crate::support::{Agent, exists, noise};

fn reading(place: Place) -> Read {
    Read {
        place,
        offset: 0,
        length: None,
        no_follow: false,
    }
}

fn read(agent: &Agent, read: Read) -> Result<Vec<u8>, Code> {
    let mut client = agent.ask(&Request::Read(read));
    match client.reply() {
        Reply::Stat(_) => {}
        Reply::Failed(failure) => return Err(failure.code),
        other => panic!("{other:?}"),
    }
    let (bytes, _, _, last) = client.gather();
    assert_eq!(last, Reply::Done);
    Ok(bytes)
}

fn writing(place: Place, how: How) -> Write {
    Write {
        place,
        how,
        mode: None,
        owner: None,
        make_parents: false,
        no_follow: false,
    }
}

fn write(agent: &Agent, write: Write, bytes: &[u8]) -> Result<(), Code> {
    let mut client = agent.ask(&Request::Write(write));
    for chunk in bytes.chunks(100_000) {
        let frame = axo_guest_proto::encode(Kind::Input, chunk).unwrap();
        if std::io::Write::write_all(&mut client.stream, &frame).is_err() {
            break;
        }
    }
    let end = axo_guest_proto::encode(Kind::Input, b"").unwrap();
    let _ = std::io::Write::write_all(&mut client.stream, &end);
    match client.reply() {
        Reply::Written { bytes: written } => {
            assert_eq!(written, bytes.len() as u64);
            Ok(())
        }
        Reply::Failed(failure) => Err(failure.code),
        other => panic!("{other:?}"),
    }
}

fn list(agent: &Agent, path: &str, depth: u32, limit: u64) -> (Vec<Entry>, bool) {
    let mut client = agent.ask(&Request::List(List {
        place: agent.place(path),
        depth,
        limit,
    }));
    let mut all = Vec::new();
    loop {
        match client.reply() {
            Reply::Entries(entries) => all.extend(entries),
            Reply::Listed { more } => return (all, more),
            other => panic!("{other:?}"),
        }
    }
}

fn stat(agent: &Agent, path: &str, no_follow: bool) -> Result<Stat, Code> {
    match agent.answer(&Request::Stat {
        place: agent.place(path),
        no_follow,
    }) {
        Reply::Stat(stat) => Ok(stat),
        Reply::Failed(failure) => Err(failure.code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_written_and_read() {
    let agent = Agent::new();
    let bytes = noise(3_000_000);
    write(&agent, writing(agent.place("file"), How::CreateNew), &bytes).unwrap();
    assert_eq!(fs::read(agent.root().join("file")).unwrap(), bytes);
    assert_eq!(read(&agent, reading(agent.place("file"))).unwrap(), bytes);
    let part = Read {
        offset: 131_070,
        length: Some(131_080),
        ..reading(agent.place("file"))
    };
    assert_eq!(read(&agent, part).unwrap(), &bytes[131_070..262_150]);
    let past = Read {
        offset: 3_000_000,
        ..reading(agent.place("file"))
    };
    assert_eq!(read(&agent, past).unwrap(), b"");
    let overflow = Read {
        offset: u64::MAX,
        length: Some(1),
        ..reading(agent.place("file"))
    };
    assert!(matches!(read(&agent, overflow), Ok(_) | Err(Code::Invalid)));
    assert_eq!(
        read(&agent, reading(agent.place("missing"))),
        Err(Code::NotFound)
    );
}

#[test]
fn a_file_is_written_in_each_way() {
    let agent = Agent::new();
    let path = agent.root().join("file");
    let put = |how, bytes: &[u8]| write(&agent, writing(agent.place("file"), how), bytes);
    let has = |bytes: &[u8]| assert_eq!(fs::read(&path).unwrap(), bytes);
    put(How::Append, b"one").unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o644);
    assert_eq!(put(How::CreateNew, b"x"), Err(Code::Exists));
    put(How::Append, b" two").unwrap();
    put(How::At(4), b"TWO!").unwrap();
    has(b"one TWO!");
    put(How::At(10), b"z").unwrap();
    has(b"one TWO!\0\0z");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    let inode = path.metadata().unwrap().ino();
    put(How::Replace, b"").unwrap();
    has(b"");
    let now = path.metadata().unwrap();
    assert_eq!(now.mode() & 0o7777, 0o750);
    assert_ne!(now.ino(), inode);
    let owned = Write {
        mode: Some(0o4711),
        owner: Some(Owner { uid: 123, gid: 456 }),
        make_parents: true,
        ..writing(agent.place("a/b/file"), How::CreateNew)
    };
    write(&agent, owned, b"x").unwrap();
    let made = agent.root().join("a/b/file").metadata().unwrap();
    assert_eq!(
        (made.mode() & 0o7777, made.uid(), made.gid()),
        (0o4711, 123, 456)
    );
    let parent = agent.root().join("a/b").metadata().unwrap();
    assert_eq!((parent.mode() & 0o7777, parent.uid()), (0o755, 123));
    assert_eq!(
        write(&agent, writing(agent.place("c/file"), How::Replace), b""),
        Err(Code::NotFound)
    );
    assert_eq!(
        write(&agent, writing(agent.place("a"), How::Replace), b""),
        Err(Code::NotFile)
    );
    assert_eq!(
        write(&agent, writing(agent.place("a"), How::Append), b""),
        Err(Code::NotFile)
    );
}

#[test]
fn a_write_that_is_broken_off_leaves_what_was_there() {
    let agent = Agent::new();
    write(&agent, writing(agent.place("file"), How::CreateNew), b"old").unwrap();
    for (path, how) in [("file", How::Replace), ("new", How::CreateNew)] {
        let mut client = agent.ask(&Request::Write(writing(agent.place(path), how)));
        client.send(Kind::Input, &[0; 200_000]);
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(client.is_closed());
    }
    crate::support::until(|| fs::read_dir(agent.root()).unwrap().count() == 1);
    assert_eq!(fs::read(agent.root().join("file")).unwrap(), b"old");
}

#[test]
fn directories_are_listed() {
    let agent = Agent::new();
    agent.place("");
    for number in 0..1000 {
        fs::write(agent.root().join(format!("file-{number}")), "x").unwrap();
    }
    fs::create_dir_all(agent.root().join("d/e/f")).unwrap();
    symlink("nowhere", agent.root().join("d/link")).unwrap();
    let (all, more) = list(&agent, "", 1, u64::MAX);
    assert_eq!((all.len(), more), (1001, false));
    let (some, more) = list(&agent, "", 1, 300);
    assert_eq!((some.len(), more), (300, true));
    let (mut deep, more) = list(&agent, "d", 2, 100);
    assert!(!more);
    deep.sort_by(|a, b| a.path.cmp(&b.path));
    let shown: Vec<_> = deep
        .iter()
        .map(|e| (e.path.as_slice(), e.stat.kind))
        .collect();
    assert_eq!(
        shown,
        [
            (&b"e"[..], FileKind::Directory),
            (b"e/f", FileKind::Directory),
            (b"link", FileKind::Link)
        ]
    );
    assert_eq!(deep[2].stat.target.as_deref(), Some(&b"nowhere"[..]));
    let failure = agent.fails(&Request::List(List {
        place: agent.place("file-1"),
        depth: 1,
        limit: 1,
    }));
    assert_eq!(failure.code, Code::NotDirectory);
    // A link is not gone into.
    symlink("/", agent.root().join("d/e/out")).unwrap();
    assert_eq!(list(&agent, "d", 64, 1000).0.len(), 4);
}

#[test]
fn things_are_made_moved_and_removed() {
    let agent = Agent::new();
    let make = |path: &str, parents| {
        Request::MakeDirectory(MakeDirectory {
            place: agent.place(path),
            mode: 0o2750,
            owner: None,
            parents,
        })
    };
    assert_eq!(agent.fails(&make("a/b", false)).code, Code::NotFound);
    agent.done(&make("a/b/./c/", true));
    agent.done(&make("a/b/c", true));
    assert_eq!(agent.fails(&make("a/b/c", false)).code, Code::Exists);
    assert_eq!(stat(&agent, "a/b/c", false).unwrap().mode, 0o2750);

    let link = MakeLink {
        place: agent.place("a/link"),
        target: b"b/c".to_vec(),
        owner: Some(Owner { uid: 7, gid: 8 }),
    };
    agent.done(&Request::MakeLink(link));
    assert_eq!(
        stat(&agent, "a/link", false).unwrap().kind,
        FileKind::Directory
    );
    let of_link = stat(&agent, "a/link", true).unwrap();
    assert_eq!(
        (of_link.target.as_deref(), of_link.uid),
        (Some(&b"b/c"[..]), 7)
    );

    agent.done(&Request::SetMode {
        place: agent.place("a/link"),
        mode: 0o700,
    });
    assert_eq!(stat(&agent, "a/b/c", false).unwrap().mode, 0o700);

    let root = agent.place("").root;
    let go = |from: &str, to: &str, replace| {
        Request::Move(Move {
            root: root.clone(),
            from: from.into(),
            to: to.into(),
            replace,
        })
    };
    fs::write(agent.root().join("x"), "x").unwrap();
    fs::write(agent.root().join("y"), "y").unwrap();
    assert_eq!(agent.fails(&go("x", "y", false)).code, Code::Exists);
    agent.done(&go("x", "y", true));
    agent.done(&go("y", "a/b/c/z", false));
    assert_eq!(fs::read(agent.root().join("a/b/c/z")).unwrap(), b"x");

    let remove = |path: &str, recursive| Request::Remove {
        place: agent.place(path),
        recursive,
    };
    assert_eq!(agent.fails(&remove("a", false)).code, Code::NotEmpty);
    agent.done(&remove("a/link", true));
    assert!(exists(&agent.root().join("a/b/c/z")));
    agent.done(&remove("a", true));
    assert_eq!(agent.fails(&remove("a", true)).code, Code::NotFound);
    assert_eq!(agent.fails(&remove("", true)).code, Code::Invalid);
}

#[test]
fn a_deep_tree_is_removed() {
    let agent = Agent::new();
    agent.place("");
    // Deeper than a path can be.
    let mut here: OwnedFd = fs::File::open(agent.root()).unwrap().into();
    for number in 0..1000 {
        let name = format!("directory-{number}");
        mkdirat(&here, &name, Mode::RWXU).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        here = openat(&here, &name, flags, Mode::empty()).unwrap();
        mkdirat(&here, "more", Mode::RWXU).unwrap();
        openat(&here, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }
    let (_, more) = list(&agent, "", 64, u64::MAX);
    assert!(!more);
    agent.done(&Request::Remove {
        place: agent.place("directory-0"),
        recursive: true,
    });
    assert_eq!(fs::read_dir(agent.root()).unwrap().count(), 0);
}

#[test]
fn nothing_leads_out_of_the_root() {
    let agent = Agent::new();
    agent.place("");
    let outside = agent.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, agent.root().join("absolute")).unwrap();
    symlink("../outside", agent.root().join("relative")).unwrap();
    symlink("../outside/secret", agent.root().join("file")).unwrap();
    symlink("/proc/self/root", agent.root().join("magic")).unwrap();
    symlink("loop", agent.root().join("loop")).unwrap();
    fs::create_dir(agent.root().join("in")).unwrap();
    symlink("../in", agent.root().join("in/inside")).unwrap();
    let paths = [
        "../outside/secret",
        "/etc/passwd",
        "absolute/secret",
        "relative/secret",
        "file",
        "in/../../outside/secret",
        "in/inside/../../outside/secret",
        "magic/etc/passwd",
        "loop",
        "..",
        "/",
    ];
    for path in paths {
        let place = || agent.place(path);
        assert_eq!(
            read(&agent, reading(place())),
            Err(Code::Outside),
            "reading {path}"
        );
        for how in [How::Append, How::At(0)] {
            let result = write(&agent, writing(place(), how), b"x");
            assert_eq!(result, Err(Code::Outside), "{how:?} {path}");
        }
        assert_eq!(
            stat(&agent, path, false),
            Err(Code::Outside),
            "looking at {path}"
        );
        let set = Request::SetMode {
            place: place(),
            mode: 0o777,
        };
        assert_eq!(agent.fails(&set).code, Code::Outside, "changing {path}");
        let watch = Request::Watch {
            place: place(),
            recursive: true,
        };
        assert_eq!(agent.fails(&watch).code, Code::Outside, "watching {path}");
    }
    // What acts on a name in a directory.
    for path in [
        "../outside/new",
        "/tmp/new",
        "absolute/new",
        "relative/new",
        "in/../../outside/new",
        "..",
        "in/..",
    ] {
        let place = || agent.place(path);
        let outside =
            |request: Request| assert_eq!(agent.fails(&request).code, Code::Outside, "{request:?}");
        for how in [How::CreateNew, How::Replace] {
            for make_parents in [true, false] {
                let result = write(
                    &agent,
                    Write {
                        make_parents,
                        ..writing(place(), how)
                    },
                    b"x",
                );
                assert_eq!(result, Err(Code::Outside), "{how:?} {path}");
            }
        }
        outside(Request::MakeDirectory(MakeDirectory {
            place: place(),
            mode: 0o755,
            owner: None,
            parents: false,
        }));
        if path != "in/.." {
            outside(Request::MakeDirectory(MakeDirectory {
                place: place(),
                mode: 0o755,
                owner: None,
                parents: true,
            }));
        }
        outside(Request::MakeLink(MakeLink {
            place: place(),
            target: b"x".to_vec(),
            owner: None,
        }));
        outside(Request::Remove {
            place: place(),
            recursive: true,
        });
        let root = agent.place("").root;
        outside(Request::Move(Move {
            root: root.clone(),
            from: b"in".to_vec(),
            to: path.into(),
            replace: true,
        }));
        outside(Request::Move(Move {
            root,
            from: path.into(),
            to: b"new".to_vec(),
            replace: true,
        }));
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    // A link is replaced and removed itself.
    write(&agent, writing(agent.place("file"), How::Replace), b"mine").unwrap();
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    agent.done(&Request::Remove {
        place: agent.place("absolute"),
        recursive: true,
    });
    assert!(outside.join("secret").exists());
    // And inside they are followed, or refused if asked.
    fs::write(agent.root().join("in/file"), "inside").unwrap();
    symlink("file", agent.root().join("in/link")).unwrap();
    assert_eq!(
        read(&agent, reading(agent.place("in/inside/link"))).unwrap(),
        b"inside"
    );
    let strict = Read {
        no_follow: true,
        ..reading(agent.place("in/inside/link"))
    };
    assert_eq!(read(&agent, strict), Err(Code::NotFile));
    let strict = Write {
        no_follow: true,
        ..writing(agent.place("in/link"), How::Append)
    };
    assert_eq!(write(&agent, strict, b"x"), Err(Code::NotFile));
    // A dangling link is not written through.
    symlink("../outside/made", agent.root().join("dangling")).unwrap();
    assert!(write(&agent, writing(agent.place("dangling"), How::Append), b"x").is_err());
    assert!(!outside.join("made").exists());
}

#[test]
fn a_renaming_tool_does_not_lead_out() {
    let agent = Agent::new();
    agent.place("");
    let outside = agent.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("name"), "secret").unwrap();
    fs::create_dir_all(agent.root().join("real/deep")).unwrap();
    fs::write(agent.root().join("real/name"), "inside").unwrap();
    let (link, here) = (agent.root().join("evil"), agent.root().join("here"));
    symlink(&outside, &link).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for source in [agent.root().join("real"), link.clone()] {
                    if fs::rename(&source, &here).is_ok() {
                        let _ = fs::rename(&here, &source);
                    }
                }
            }
        });
        let due = Instant::now() + Duration::from_secs(2);
        let mut inside = 0;
        while Instant::now() < due {
            match read(&agent, reading(agent.place("here/deep/../name"))) {
                Ok(bytes) => {
                    assert_eq!(bytes, b"inside");
                    inside += 1;
                }
                Err(code) => assert!(
                    matches!(
                        code,
                        Code::NotFound
                            | Code::Outside
                            | Code::Io
                            | Code::NotFile
                            | Code::NotDirectory
                    ),
                    "{code:?}"
                ),
            }
            let _ = write(
                &agent,
                writing(agent.place("here/made"), How::Replace),
                b"x",
            );
        }
        over.store(true, Ordering::Relaxed);
        assert!(inside > 0);
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn what_is_no_file_is_neither_read_nor_waited_for() {
    let agent = Agent::new();
    agent.place("");
    agent.run(&format!("mkfifo {}/fifo", agent.root().display()));
    fs::create_dir(agent.root().join("directory")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(agent.root().join("socket")).unwrap();
    for path in ["fifo", "directory", "socket", ""] {
        assert_eq!(
            read(&agent, reading(agent.place(path))),
            Err(Code::NotFile),
            "{path}"
        );
        assert_eq!(
            write(&agent, writing(agent.place(path), How::Append), b"x"),
            Err(Code::NotFile),
            "{path}"
        );
    }
    let device = Place {
        root: b"/dev".to_vec(),
        path: b"zero".to_vec(),
    };
    assert_eq!(read(&agent, reading(device)), Err(Code::NotFile));
    assert_eq!(stat(&agent, "fifo", false).unwrap().kind, FileKind::Fifo);
}

#[test]
fn a_full_disk_is_told() {
    let agent = Agent::with(
        &[
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o size=64k none /mnt && exec \"$@\"",
            "sh",
        ],
        &[],
    );
    let place = Place {
        root: b"/mnt".to_vec(),
        path: b"file".to_vec(),
    };
    assert_eq!(
        write(
            &agent,
            writing(place.clone(), How::CreateNew),
            &[1; 1_000_000]
        ),
        Err(Code::NoSpace)
    );
    assert_eq!(read(&agent, reading(place)), Err(Code::NotFound));
}
