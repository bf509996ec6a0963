//! The user that an image asks to run as: `USER`, `USER:GROUP`, by number or by name.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// Longest `/etc/passwd` or `/etc/group` of an image that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The numbers of `user` as the image understands it; `None` if it does not know it.
pub(super) fn resolve(root: &OwnedFd, user: &str) -> Option<(u32, u32)> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let passwd = read(root, "etc/passwd");
    let known = lines(&passwd).find(|fields| {
        fields.first() == Some(&user) || (is_number(user) && fields.get(2) == Some(&user))
    });
    let uid = match user.parse() {
        Ok(number) => number,
        Err(_) => known.as_ref()?.get(2)?.parse().ok()?,
    };
    let gid = match group {
        None => known
            .and_then(|fields| fields.get(3)?.parse().ok())
            .unwrap_or(0),
        Some(group) => match group.parse() {
            Ok(number) => number,
            Err(_) => {
                let groups = read(root, "etc/group");
                let known = lines(&groups).find(|fields| fields.first() == Some(&group));
                known?.get(2)?.parse().ok()?
            }
        },
    };
    Some((uid, gid))
}

fn is_number(text: &str) -> bool {
    text.parse::<u32>().is_ok()
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

fn read(root: &OwnedFd, path: &str) -> String {
    let mut text = String::new();
    if let Ok(file) = openat2(
        root,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    ) {
        // What is no text knows nobody.
        let _ = File::from(file)
            .take(MAX_FILE_BYTES)
            .read_to_string(&mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::root::open_directory;

    #[test]
    fn names_and_numbers_are_resolved_inside_the_image_only() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().canonicalize().unwrap();
        std::fs::create_dir(path.join("etc")).unwrap();
        std::fs::write(path.join("etc/passwd"), "app:x:1000:1001::/:/bin/sh\n").unwrap();
        std::fs::write(path.join("etc/group"), "staff:x:50:\n").unwrap();
        let root = open_directory(&path).unwrap();
        assert_eq!(resolve(&root, "app"), Some((1000, 1001)));
        assert_eq!(resolve(&root, "1000"), Some((1000, 1001)));
        assert_eq!(resolve(&root, "app:staff"), Some((1000, 50)));
        assert_eq!(resolve(&root, "7:8"), Some((7, 8)));
        assert_eq!(resolve(&root, "7"), Some((7, 0)));
        // The host has a root; this image does not.
        assert_eq!(resolve(&root, "root"), None);
        std::fs::remove_file(path.join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path.join("etc/passwd")).unwrap();
        assert_eq!(resolve(&root, "root"), None);
    }
}
