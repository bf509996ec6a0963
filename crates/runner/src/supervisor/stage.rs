//! What a container is made of, put together on the runner's private tmpfs.

use std::fs::{File, create_dir};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use axo_runner::{Bind, IdMap, IdRange, Prepare, RootAccess, Stage};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, mkdirat, openat, openat2,
};
use rustix::io::Errno;

use super::mounts::{Access, attach, copy, map_owners, overlay, restrict, tmpfs};
use super::step::{Failed, Step as _};
use super::user_namespace::{Entered, UserLimits, with_ids};

/// Room on the stage beside the input: `config.json`, libcontainer's state, an overlay's mount
/// points, in bytes.
const STAGE_BYTES: u64 = 2 << 20;
/// Files and directories of the stage.
const STAGE_INODES: u64 = 512;

/// A staged sandbox.
pub(crate) struct Staged {
    pub(crate) stage: Stage,
    /// The input file, which the engine fills.
    pub(crate) input: File,
    /// `/axocoatl`.
    pub(crate) axocoatl: OwnedFd,
}

impl Staged {
    pub(crate) fn make(
        prepare: &Prepare,
        users: &Entered,
        rootfs: &OwnedFd,
        binds: &[OwnedFd],
    ) -> Result<Self, Failed> {
        let stage = Stage::default();
        let options = format!(
            "mode=0755,size={},nr_inodes={STAGE_INODES}",
            prepare.input_bytes.saturating_add(STAGE_BYTES)
        );
        tmpfs(stage.path(), &options).step("mounting the stage")?;
        for directory in [
            stage.bundle(),
            stage.state(),
            stage.input(),
            stage.scratch(),
            stage.rootfs(),
        ] {
            create_dir(&directory).step("laying out the stage")?;
        }
        // First, for a root file system may be written to it.
        place_scratch(&stage, prepare, users)?;
        place_root(&stage, prepare, users, rootfs)?;
        let input = place_input(&stage)?;
        place_binds(&stage, prepare, users, binds)?;
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let axocoatl =
            openat(CWD, stage.axocoatl(), directory, Mode::empty()).step("opening /axocoatl")?;
        Ok(Self {
            stage,
            input,
            axocoatl,
        })
    }
}

/// The root file system, with every directory that something is mounted on. Where one is missing, it
/// is made in a layer over the root: what we were given is never written to. Nor is the layer, unless
/// the tool may: then it is in its scratch space.
fn place_root(
    stage: &Stage,
    prepare: &Prepare,
    users: &Entered,
    rootfs: &OwnedFd,
) -> Result<(), Failed> {
    const DOING: &str = "placing the root file system";
    let missing = missing_mount_points(rootfs, &prepare.mount_points)?;
    let root = copy(rootfs).step(DOING)?;
    if users.is_root {
        // Where the file system cannot map owners, files are nobody's, and what others may do holds.
        match map_owners(&root, &users.inner) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(e) => return Err(e).step("mapping the owners of the root file system"),
        }
    }
    restrict(&root, Access::ReadOnly).step(DOING)?;
    let layers = match prepare.root {
        RootAccess::ReadOnly if missing.is_empty() => {
            return attach(&root, &stage.rootfs()).step(DOING);
        }
        RootAccess::ReadOnly => stage.path().to_owned(),
        RootAccess::Scratch => stage.scratch(),
    };
    let (lower, upper, work) = (
        stage.path().join("lower"),
        layers.join("upper"),
        layers.join("work"),
    );
    for directory in [&lower, &upper, &work] {
        create_dir(directory).step(DOING)?;
    }
    attach(&root, &lower).step(DOING)?;
    overlay(&stage.rootfs(), &lower, &upper, &work, users.is_root).step(&format!(
        "adding the directories {} to the root file system",
        missing.join(", ")
    ))?;
    for path in &missing {
        make_mount_point(&stage.rootfs(), path, users)
            .step(&format!("making the directory {path}"))?;
    }
    if prepare.root == RootAccess::Scratch {
        return Ok(());
    }
    let finished = openat(
        CWD,
        stage.rootfs(),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(copy)
    .step(DOING)?;
    restrict(&finished, Access::ReadOnly).step(DOING)?;
    attach(&finished, &stage.rootfs()).step(DOING)
}

/// Which of `paths` do not exist beneath `root`. One that is, or lies behind, a symbolic link, or
/// is no directory, is refused.
fn missing_mount_points(root: &OwnedFd, paths: &[String]) -> Result<Vec<String>, Failed> {
    let mut missing = Vec::new();
    for path in paths {
        let opened = openat2(
            root,
            path.trim_start_matches('/'),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        );
        match opened {
            Ok(_) => {}
            Err(Errno::NOENT) => missing.push(path.clone()),
            Err(Errno::LOOP) => {
                let why = format!("{path} is a symbolic link, or lies behind one");
                return Err(Failed::new("examining the root file system", why));
            }
            Err(e) => return Err(e).step(&format!("examining {path} in the root file system")),
        }
    }
    Ok(missing)
}

/// Makes `path` and what is missing above it, following nothing.
fn make_mount_point(root: &Path, path: &str, users: &Entered) -> rustix::io::Result<()> {
    let mut parent = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let (uid, gid) = users.root();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => own(&parent, name, (uid, gid))?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        parent = openat(&parent, name, flags, Mode::empty())?;
    }
    Ok(())
}

/// One bounded tmpfs behind every place that the tool may write to.
fn place_scratch(stage: &Stage, prepare: &Prepare, users: &Entered) -> Result<(), Failed> {
    const DOING: &str = "making the tool's scratch space";
    let options = format!(
        "mode=0755,size={},nr_inodes={}",
        prepare.scratch.bytes, prepare.scratch.inodes
    );
    tmpfs(&stage.scratch(), &options).step(DOING)?;
    for (directory, mode) in [
        (stage.axocoatl(), 0o755),
        (stage.tmp(), 0o1777),
        (stage.shm(), 0o1777),
    ] {
        create_dir(&directory).step(DOING)?;
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(mode)).step(DOING)?;
    }
    File::create_new(stage.axocoatl().join("input.json")).step(DOING)?;
    own(CWD, stage.axocoatl(), users.tool()).step(DOING)
}

/// The input file, which the tool sees through a mount that cannot be written.
fn place_input(stage: &Stage) -> Result<File, Failed> {
    const DOING: &str = "making the input file";
    let input = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(stage.input_file())
        .step(DOING)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = openat(CWD, stage.input(), flags, Mode::empty())
        .and_then(copy)
        .step(DOING)?;
    restrict(&tree, Access::ReadOnly).step(DOING)?;
    attach(&tree, &stage.input()).step(DOING)?;
    Ok(input)
}

fn place_binds(
    stage: &Stage,
    prepare: &Prepare,
    users: &Entered,
    sources: &[OwnedFd],
) -> Result<(), Failed> {
    const DOING: &str = "placing a mount";
    if sources.len() != prepare.binds.len() {
        return Err(Failed::new(DOING, "its source did not arrive"));
    }
    if !sources.is_empty() {
        create_dir(stage.path().join("mounts")).step(DOING)?;
    }
    for (number, (source, Bind { read_only })) in sources.iter().zip(&prepare.binds).enumerate() {
        let tree = copy(source).step(DOING)?;
        if users.is_root {
            let owner = owner_as_tool(source, users)?;
            match map_owners(&tree, &owner) {
                Ok(()) => {}
                Err(Errno::INVAL | Errno::PERM) => open_to_others(source, *read_only)?,
                Err(e) => return Err(e).step("mapping the owner of a mount"),
            }
        }
        let access = if *read_only {
            Access::ReadOnly
        } else {
            Access::ReadWrite
        };
        restrict(&tree, access).step(DOING)?;
        let place = stage.mount(number);
        create_dir(&place).step(DOING)?;
        attach(&tree, &place).step(DOING)?;
    }
    Ok(())
}

/// The namespace in which the tool is, within a mount, who owns its directory on the host.
fn owner_as_tool(source: &OwnedFd, users: &Entered) -> Result<OwnedFd, Failed> {
    let stat = fstat(source).step("examining a mount")?;
    let (user, group) = users.tool();
    let one = |inside, outside| {
        vec![IdRange {
            inside,
            outside,
            count: 1,
        }]
    };
    let map = IdMap {
        users: one(stat.st_uid, user),
        groups: one(stat.st_gid, group),
    };
    with_ids(&map, UserLimits::Inherited)
}

/// Where the file system cannot map owners, the tool is anybody to it. What nobody may use is not
/// granted in name only.
fn open_to_others(source: &OwnedFd, read_only: bool) -> Result<(), Failed> {
    const DOING: &str = "granting a mount";
    let needed = if read_only { 0o5 } else { 0o7 };
    let mode = fstat(source).step(DOING)?.st_mode;
    if mode & needed == needed {
        return Ok(());
    }
    let why = "its file system cannot show the tool as its owner on this kernel, and others may not \
               use it: chmod o+rx it (o+rwx to write), or have it on ext4, xfs or btrfs";
    Err(Failed::new(DOING, why))
}

fn own(
    parent: impl std::os::fd::AsFd,
    name: impl rustix::path::Arg,
    (user, group): (u32, u32),
) -> rustix::io::Result<()> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    chownat(
        parent,
        name,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}
