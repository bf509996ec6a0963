//! A path as the container will resolve it, followed link by link: what is looked at must be what
//! runs.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2, readlinkat};
use rustix::io::Errno;

use super::TOOL_FILES;
use super::root::MOUNT_POINTS;

/// Most links on the way to a file: the kernel's own bound.
const MAX_LINKS: usize = 40;

/// What a container's root is made of, but for its call's mounts.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) root: &'a OwnedFd,
    /// Shown at [`TOOL_FILES`], over whatever the root has there.
    pub(super) files: Option<&'a OwnedFd>,
}

/// A file, and how it is reached.
pub(super) struct Found {
    pub(super) file: File,
    /// Every link on the way, and the file itself. Whatever covers one of them changes what is found.
    pub(super) through: Vec<String>,
}

/// Why a path leads to no file that will be there.
#[derive(Debug)]
pub(super) enum LookupError {
    /// It leads to a place that shows something else in a container.
    Elsewhere,
    Io(io::Error),
}

impl From<Errno> for LookupError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl Places<'_> {
    /// The file at an absolute `path`.
    pub(super) fn find(&self, path: &str) -> Result<Found, LookupError> {
        let mut todo: VecDeque<String> = parts(path).collect();
        let mut at: Vec<String> = Vec::new();
        let mut through = Vec::new();
        while let Some(part) = todo.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            at.push(part);
            let here = format!("/{}", at.join("/"));
            if MOUNT_POINTS.iter().any(|place| is_beneath(&here, place)) {
                return Err(LookupError::Elsewhere);
            }
            let Some(target) = self.link(&at)? else {
                continue;
            };
            through.push(here);
            if through.len() > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            at.pop();
            if target.starts_with('/') {
                at.clear();
            }
            parts(&target)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .for_each(|part| todo.push_front(part));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = self.open(&at, flags)?.into();
        through.push(format!("/{}", at.join("/")));
        Ok(Found { file, through })
    }

    /// Where the link at this place leads, if it is one.
    fn link(&self, at: &[String]) -> Result<Option<String>, LookupError> {
        let opened = self.open(at, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        match readlinkat(&opened, "", Vec::new()) {
            Ok(target) => {
                let not_text = |_| LookupError::Io(io::ErrorKind::InvalidData.into());
                Ok(Some(target.into_string().map_err(not_text)?))
            }
            // What is no link.
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Opens a place that is behind no link. What is mounted within the root is not in the container.
    fn open(&self, at: &[String], flags: OFlags) -> Result<OwnedFd, Errno> {
        let (base, inside) = match (self.files, at) {
            (Some(files), [first, inside @ ..]) if format!("/{first}") == TOOL_FILES => {
                (files, inside)
            }
            _ => (self.root, at),
        };
        let inside = match inside {
            [] => ".".to_owned(),
            inside => inside.join("/"),
        };
        openat2(
            base,
            inside,
            flags,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
        )
    }
}

/// Whether `path` is `place` or lies beneath it. Both are absolute.
pub(super) fn is_beneath(path: &str, place: &str) -> bool {
    path.strip_prefix(place)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The names that a path is made of.
pub(super) fn parts(path: &str) -> impl Iterator<Item = String> {
    path.split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::root::open_directory;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_is_followed_as_the_container_will_and_nowhere_else() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let (root, files) = (home.join("root"), home.join("files"));
        for directory in ["usr/bin", "tmp", "proc/self", "tool", "etc"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::create_dir(&files).unwrap();
        for (file, text) in [
            ("usr/bin/sh", "root"),
            ("tmp/x", "hidden"),
            ("proc/self/exe", "hidden"),
            ("tool/main", "hidden"),
        ] {
            fs::write(root.join(file), text).unwrap();
        }
        fs::write(files.join("main"), "files").unwrap();
        fs::write(home.join("outside"), "host").unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink("/etc/sh", root.join("usr/bin/alternative")).unwrap();
        symlink("../bin/sh", root.join("etc/sh")).unwrap();
        symlink("/proc/self/exe", root.join("runner")).unwrap();
        symlink("usr/../tmp/x", root.join("scratch")).unwrap();
        symlink("../../../outside", root.join("out")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("/bin/sh", files.join("shell")).unwrap();
        let (root, files) = (
            open_directory(&root).unwrap(),
            open_directory(&files).unwrap(),
        );
        let places = |files| Places { root: &root, files };
        let read = |files, path: &str| match places(files).find(path) {
            Ok(found) => {
                let mut found = found;
                let text = io::read_to_string(&mut found.file).unwrap();
                format!("{text} {}", found.through.join(" "))
            }
            Err(LookupError::Elsewhere) => "elsewhere".to_owned(),
            Err(LookupError::Io(error)) => format!("{:?}", error.kind()),
        };
        for (path, found) in [
            ("/bin/sh", "root /bin /usr/bin/sh"),
            ("//usr/./bin/sh", "root /usr/bin/sh"),
            (
                "/bin/alternative",
                "root /bin /usr/bin/alternative /etc/sh /bin /usr/bin/sh",
            ),
            ("/runner", "elsewhere"),
            ("/scratch", "elsewhere"),
            ("/tmp/x", "elsewhere"),
            ("/out", "NotFound"),
            ("/absent", "NotFound"),
            ("/bin/sh/x", "NotADirectory"),
            ("/tool/main", "hidden /tool/main"),
        ] {
            assert_eq!(read(None, path), found, "{path}");
        }
        assert!(read(None, "/loop").contains("Loop"));
        assert_eq!(read(Some(&files), "/tool/main"), "files /tool/main");
        assert_eq!(read(Some(&files), "/usr/../tool//main"), "files /tool/main");
        let shell = read(Some(&files), "/tool/shell");
        assert_eq!(shell, "root /tool/shell /bin /usr/bin/sh");
    }
}
