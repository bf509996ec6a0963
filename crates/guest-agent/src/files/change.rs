//! Changes that are made at once.

use std::os::fd::AsRawFd as _;

use axo_guest_proto::files::{MakeDirectory, MakeLink, Move, Place};
use axo_guest_proto::{Failure, Reply};
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, Uid, chmod, chownat, renameat, renameat_with,
    symlinkat,
};
use rustix::io::{Errno, Result};

use super::beneath::{Root, make_directory as make, root_of};
use super::{at_place, failure};

type Answer = std::result::Result<Reply, Failure>;

pub(super) fn make_directory(request: &MakeDirectory) -> Answer {
    let MakeDirectory {
        place,
        mode,
        owner,
        parents,
    } = request;
    let mode = Mode::from_raw_mode(*mode);
    let made = root_of(place).and_then(|root| {
        if *parents {
            return root.make_all(&place.path, mode, *owner).map(drop);
        }
        let (parent, name) = root.parent(&place.path)?;
        make(&parent, &name, mode, *owner, false)
    });
    done(made.map_err(at_place("making", place)))
}

pub(super) fn make_link(request: &MakeLink) -> Answer {
    let MakeLink {
        place,
        target,
        owner,
    } = request;
    let made = root_of(place).and_then(|root| {
        let (parent, name) = root.parent(&place.path)?;
        symlinkat(target.as_slice(), &parent, &name)?;
        match owner {
            Some(owner) => chownat(
                &parent,
                &name,
                Some(Uid::from_raw(owner.uid)),
                Some(Gid::from_raw(owner.gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            ),
            None => Ok(()),
        }
    });
    done(made.map_err(at_place("making a link at", place)))
}

pub(super) fn set_mode(place: &Place, mode: u32) -> Answer {
    let set = root_of(place).and_then(|root| {
        let file = root.resolve(&place.path, OFlags::PATH, Mode::empty())?;
        // A descriptor for a path alone has no fchmod; its name in /proc has, and leads nowhere else.
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        chmod(name, Mode::from_raw_mode(mode))
    });
    done(set.map_err(at_place("changing the mode of", place)))
}

pub(super) fn rename(request: &Move) -> Answer {
    let failed = |e| failure("moving", &request.from, e);
    let moved = Root::open(&request.root).and_then(|root| move_beneath(&root, request));
    done(moved.map_err(failed))
}

fn move_beneath(root: &Root, request: &Move) -> Result<()> {
    let (from, old) = root.parent(&request.from)?;
    let (to, new) = root.parent(&request.to)?;
    if request.replace {
        return renameat(&from, &old, &to, &new);
    }
    match renameat_with(&from, &old, &to, &new, RenameFlags::NOREPLACE) {
        // Not every file system can: better not at all than over something.
        Err(Errno::INVAL) => Err(Errno::NOTSUP),
        result => result,
    }
}

pub(super) fn done(result: std::result::Result<(), Failure>) -> Answer {
    result.map(|()| Reply::Done)
}
