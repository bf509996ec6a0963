//! Plans and how they are carried out, with a directory in the place of what came out of a session.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use super::seen::content;
use super::*;

/// A directory as it was brought, what a session made of it, and the directory now.
struct Sides {
    home: tempfile::TempDir,
    seen: Seen,
}

impl Sides {
    /// `make` makes the directory; the session gets a copy.
    fn new(make: impl Fn(&Path)) -> Self {
        let home = tempfile::tempdir().unwrap();
        for side in ["host", "session"] {
            fs::create_dir(home.path().join(side)).unwrap();
            make(&home.path().join(side));
        }
        let top = opened(&home.path().canonicalize().unwrap().join("host")).unwrap();
        let seen = taken_in(&top, 1 << 30).unwrap();
        Self { home, seen }
    }

    fn side(&self, name: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(name)
    }

    fn plan(&self, delete: bool) -> Plan {
        let (session, host) = (opened(&self.side("session")).unwrap(), self.host());
        let (theirs, ours) = (Tree::of(&session).unwrap(), Tree::of(&host).unwrap());
        let sides = ((&session, &theirs), (&host, &ours));
        Plan::make(&self.seen, sides, &BTreeSet::new(), delete).unwrap()
    }

    fn host(&self) -> HostPlace {
        opened(&self.side("host")).unwrap()
    }

    fn apply(&mut self, delete: bool) -> Plan {
        let plan = self.plan(delete);
        let (session, host) = (opened(&self.side("session")).unwrap(), self.host());
        let (theirs, ours) = (Tree::of(&session).unwrap(), Tree::of(&host).unwrap());
        apply::apply(&plan, (&session, &theirs), (&host, &ours)).unwrap();
        self.seen = self
            .seen
            .clone()
            .after(&plan, (&session, &theirs), &host)
            .unwrap();
        plan
    }
}

fn write(side: &Path, name: &str, text: &str) {
    fs::write(side.join(name), text).unwrap();
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[test]
fn what_nobody_changed_is_nothing_to_do_whatever_the_host_made_of_it() {
    let sides = Sides::new(|side| {
        write(side, "a", "a");
        write(side, "b", "b");
        symlink("a", side.join("l")).unwrap();
    });
    assert_eq!(sides.plan(true), Plan::default());
    write(&sides.side("host"), "a", "of the host");
    write(&sides.side("host"), "new", "of the host");
    fs::remove_file(sides.side("host").join("b")).unwrap();
    assert_eq!(sides.plan(true), Plan::default());
}

#[test]
fn what_both_changed_is_told_unless_it_is_the_same_by_now() {
    let sides = Sides::new(|side| {
        for name in ["same", "other", "gone", "removed"] {
            write(side, name, name);
        }
    });
    let (host, session) = (sides.side("host"), sides.side("session"));
    for name in ["same", "other", "gone", "fresh"] {
        write(&session, name, "of the session");
    }
    fs::remove_file(session.join("removed")).unwrap();
    write(&host, "same", "of the session");
    write(&host, "other", "of the host");
    write(&host, "fresh", "of the host");
    write(&host, "removed", "of the host");
    fs::remove_file(host.join("gone")).unwrap();
    let plan = sides.plan(true);
    assert_eq!(plan.same, paths(&["same"]));
    assert_eq!(plan.both, paths(&["fresh", "gone", "other", "removed"]));
    // What is not removed needs no decision.
    let plan = sides.plan(false);
    assert_eq!(plan.both, paths(&["fresh", "gone", "other"]));
    assert_eq!(plan.left, paths(&["removed"]));
}

#[test]
fn a_plan_that_was_carried_out_is_done() {
    let mut sides = Sides::new(|side| {
        fs::create_dir_all(side.join("d/e")).unwrap();
        write(side, "d/e/f", "f");
        write(side, "file", "file");
        symlink("file", side.join("link")).unwrap();
    });
    let session = sides.side("session");
    fs::remove_dir_all(session.join("d")).unwrap();
    write(&session, "d", "a file now");
    fs::remove_file(session.join("file")).unwrap();
    fs::create_dir(session.join("file")).unwrap();
    write(&session, "file/in", "in");
    fs::remove_file(session.join("link")).unwrap();
    symlink("elsewhere", session.join("link")).unwrap();
    let odd = OsStr::from_bytes(b"odd \xff\n name");
    fs::write(session.join(odd), "odd").unwrap();
    assert_eq!(sides.plan(false).in_the_way, paths(&["d"]));
    sides.apply(true);
    let host = sides.side("host");
    assert_eq!(fs::read_to_string(host.join("d")).unwrap(), "a file now");
    assert_eq!(fs::read_to_string(host.join("file/in")).unwrap(), "in");
    assert_eq!(
        fs::read_link(host.join("link")).unwrap(),
        Path::new("elsewhere")
    );
    assert_eq!(fs::read(host.join(odd)).unwrap(), b"odd");
    let kept = sides.home.path().join("kept");
    sides.seen.save(&kept).unwrap();
    sides.seen = Seen::load(&kept).unwrap();
    assert_eq!(sides.plan(true), Plan::default());
    // And what changes now is seen.
    write(&session, "d", "again");
    assert_eq!(sides.plan(true).write, paths(&["d"]));
    assert!(
        fs::read_dir(&host)
            .unwrap()
            .flatten()
            .all(|entry| { !entry.file_name().to_string_lossy().starts_with(".axocoatl") })
    );
}

#[test]
fn what_was_left_can_be_removed_later() {
    let mut sides = Sides::new(|side| {
        fs::create_dir(side.join("d")).unwrap();
        write(side, "d/f", "f");
    });
    fs::remove_dir_all(sides.side("session").join("d")).unwrap();
    assert_eq!(sides.apply(false).left, paths(&["d", "d/f"]));
    // A directory in which the host has made something stays.
    write(&sides.side("host"), "d/new", "of the host");
    assert_eq!(sides.apply(true).remove, paths(&["d", "d/f"]));
    assert!(sides.side("host").join("d/new").exists());
    assert!(!sides.side("host").join("d/f").exists());
}

#[test]
fn a_link_in_the_place_of_a_directory_is_not_gone_through() {
    let mut sides = Sides::new(|side| {
        fs::create_dir(side.join("d")).unwrap();
        write(side, "d/f", "f");
    });
    let outside = sides.side("outside");
    fs::create_dir(&outside).unwrap();
    write(&outside, "f", "outside");
    write(&sides.side("session"), "d/f", "of the session");
    // As somebody does who can write there, at the worst moment.
    let plan = sides.plan(false);
    fs::remove_dir_all(sides.side("host").join("d")).unwrap();
    symlink(&outside, sides.side("host").join("d")).unwrap();
    let (session, host) = (opened(&sides.side("session")).unwrap(), sides.host());
    let (theirs, ours) = (Tree::of(&session).unwrap(), Tree::of(&host).unwrap());
    assert!(apply::apply(&plan, (&session, &theirs), (&host, &ours)).is_err());
    assert_eq!(fs::read_to_string(outside.join("f")).unwrap(), "outside");
    // Known, it is a change of both.
    sides.seen = taken_in(&sides.host(), 1 << 30).unwrap();
    let plan = sides.plan(false);
    assert!(plan.write.contains(&PathBuf::from("d")), "{plan:?}");
}

/// The host removed, or replaced, a directory in which the session made or changed something.
#[test]
fn regression_what_is_beneath_a_directory_that_this_host_removed_can_be_brought_back() {
    for change in ["made", "changed"] {
        for replaced in [None, Some("a file"), Some("a link")] {
            let mut sides = Sides::new(|side| {
                fs::create_dir_all(side.join("d/e")).unwrap();
                write(side, "d/e/f", "f");
            });
            let (host, session) = (sides.side("host"), sides.side("session"));
            let name = if change == "made" { "d/e/x" } else { "d/e/f" };
            write(&session, name, "of the session");
            fs::remove_dir_all(host.join("d")).unwrap();
            match replaced {
                Some("a file") => write(&host, "d", "of the host"),
                Some(_) => symlink("/", host.join("d")).unwrap(),
                None => {}
            }
            let plan = sides.plan(false);
            assert_eq!(plan.write, paths(&["d", "d/e", name]), "{replaced:?}");
            // Somebody has to say so.
            let both = match change {
                "made" => paths(&["d", "d/e"]),
                _ => paths(&["d", "d/e", name]),
            };
            assert_eq!(plan.both, both, "{replaced:?}");
            sides.apply(false);
            let read = fs::read_to_string(host.join(name)).unwrap();
            assert_eq!(read, "of the session", "{replaced:?}");
            assert_eq!(sides.plan(false).write, paths(&[]), "{replaced:?}");
        }
    }
    // What only this host made where the session made something, too.
    let sides = Sides::new(|_| ());
    fs::create_dir(sides.side("session").join("new")).unwrap();
    write(&sides.side("session"), "new/f", "of the session");
    write(&sides.side("host"), "new", "of the host");
    assert_eq!(sides.plan(false).write, paths(&["new", "new/f"]));
    assert_eq!(sides.plan(false).both, paths(&["new"]));
}

#[test]
fn regression_a_directory_with_files_of_this_host_gives_way_only_when_somebody_says_so() {
    let mut sides = Sides::new(|side| {
        fs::create_dir(side.join("d")).unwrap();
        write(side, "d/f", "f");
    });
    let (host, session) = (sides.side("host"), sides.side("session"));
    fs::remove_dir_all(session.join("d")).unwrap();
    write(&session, "d", "a file now");
    fs::create_dir(host.join("d/deep")).unwrap();
    write(&host, "d/deep/new", "of the host");
    assert_eq!(sides.plan(false).in_the_way, paths(&["d"]));
    let plan = sides.plan(true);
    assert_eq!(plan.both, paths(&["d/deep", "d/deep/new"]));
    assert_eq!(plan.remove, paths(&["d/deep", "d/deep/new", "d/f"]));
    sides.apply(true);
    assert_eq!(fs::read_to_string(host.join("d")).unwrap(), "a file now");
    assert_eq!(sides.plan(true), Plan::default());
}

/// An edit of this host's between the writing of a file and the record of it.
#[test]
fn regression_what_this_host_changed_while_a_plan_was_carried_out_is_not_overwritten_later() {
    let mut sides = Sides::new(|side| {
        for name in ["written", "same", "link"] {
            write(side, name, "before");
        }
    });
    let (host, session) = (sides.side("host"), sides.side("session"));
    for name in ["written", "same", "link"] {
        write(&session, name, "of the session");
    }
    write(&host, "same", "of the session");
    let plan = sides.plan(false);
    assert_eq!(plan.same, paths(&["same"]));
    let (place, top) = (opened(&session).unwrap(), sides.host());
    let (theirs, ours) = (Tree::of(&place).unwrap(), Tree::of(&top).unwrap());
    apply::apply(&plan, (&place, &theirs), (&top, &ours)).unwrap();
    for name in ["written", "same"] {
        // Of the same length: nothing but reading it tells.
        write(&host, name, "of the host !!");
    }
    fs::remove_file(host.join("link")).unwrap();
    symlink("elsewhere", host.join("link")).unwrap();
    sides.seen = sides.seen.after(&plan, (&place, &theirs), &top).unwrap();
    let all = paths(&["link", "same", "written"]);
    assert_eq!(sides.plan(false).both, all);
    // So it does when the session goes on.
    for name in ["written", "same", "link"] {
        write(&session, name, "later");
    }
    assert_eq!(sides.plan(false).both, all);
}

#[test]
fn regression_a_fifo_of_this_host_is_not_replaced_unless_somebody_says_so() {
    let mut sides = Sides::new(|side| write(side, "was", "a file"));
    let (host, session) = (sides.side("host"), sides.side("session"));
    fs::remove_file(host.join("was")).unwrap();
    for name in ["was", "new"] {
        let fifo = rustix::fs::FileType::Fifo;
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, host.join(name), fifo, mode, 0).unwrap();
        write(&session, name, "of the session");
    }
    let plan = sides.plan(false);
    assert_eq!(plan.both, paths(&["new", "was"]));
    sides.apply(false);
    assert_eq!(
        fs::read_to_string(host.join("new")).unwrap(),
        "of the session"
    );
    // What the session has nothing in the place of is nobody's.
    rustix::fs::mknodat(
        CWD,
        host.join("other"),
        rustix::fs::FileType::Fifo,
        Mode::empty(),
        0,
    )
    .unwrap();
    assert_eq!(sides.plan(true), Plan::default());
}

#[test]
fn regression_no_more_of_a_file_is_read_than_it_had() {
    let sides = Sides::new(|side| write(side, "f", "some"));
    let host = sides.host();
    let tree = Tree::of(&host).unwrap();
    let path = Path::new("f");
    let entry = &tree.0[path];
    assert!(content(&host, path, entry).unwrap().is_some());
    // As large as a file can be, and nothing but a hole: to read it takes for ever.
    let file = fs::File::options()
        .write(true)
        .open(sides.side("host").join("f"));
    file.unwrap().set_len(1 << 43).unwrap();
    assert_eq!(content(&host, path, entry).unwrap(), None);
    // In a plan neither is read: their sizes tell.
    write(&sides.side("session"), "f", "other");
    assert_eq!(sides.plan(false).both, paths(&["f"]));
}

#[test]
fn a_file_that_is_none_of_ours_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("seen");
    for bad in [
        &b""[..],
        b"\0",
        b"axocoatl-seen 1 5\0",
        b"axocoatl-seen 1 5 6\0f x 1 2 3 4 abc\0",
        b"axocoatl-seen 1 5 6\0q x 1 2 3 4 abc path\0",
        b"axocoatl-seen 1 5 6\0f x 1 2 3 4 abc path",
    ] {
        fs::write(&path, bad).unwrap();
        assert!(
            Seen::load(&path).is_err(),
            "{}",
            String::from_utf8_lossy(bad)
        );
    }
    fs::write(&path, b"axocoatl-seen 1 5 6\0f x 1 2 3 4 abc path\0").unwrap();
    assert!(Seen::load(&path).is_ok());
}

/// What is written can be read again, or is not written.
#[test]
fn regression_no_more_is_remembered_than_can_be_read_again() {
    let home = tempfile::tempdir().unwrap();
    let kept = home.path().join("kept");
    // As long as one that is read, and of no use: a hole.
    fs::File::create(&kept)
        .unwrap()
        .set_len((512 << 20) + 1)
        .unwrap();
    let Err(SyncError::Seen { source, .. }) = Seen::load(&kept) else {
        panic!("it was read");
    };
    assert_eq!(source.kind(), io::ErrorKind::FileTooLarge);
    let seen = Sides::new(|side| write(side, "f", "f")).seen;
    let mut plan = Plan {
        write: paths(&["f", "g"]),
        ..Plan::default()
    };
    seen.check_room(&plan).unwrap();
    plan.write.push("x".repeat(512 << 20).into());
    seen.check_room(&plan).unwrap_err();
}
