//! Owners, permissions and times of what is unpacked.

use std::io;

use rustix::fs::{Gid, Mode, RawMode, Timespec, Timestamps, Uid};

use super::tree::Problem;

/// What an entry says about itself. Extended attributes are not among it: file capabilities would
/// be rights, and nothing here gives any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
}

/// Whose the files become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ownership {
    /// Whose the image says: we are root.
    Recorded,
    /// Ours. Tools run under another identity, so "others" get what the owner has; only we can
    /// enter the store.
    Ours,
}

impl Ownership {
    pub(super) fn of_process() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Recorded
        } else {
            Self::Ours
        }
    }
}

impl Attributes {
    pub(super) fn of(header: &tar::Header) -> Result<Self, Problem> {
        let bad = |_: io::Error| Problem::refused("its header has no valid numbers");
        let id = |value: u64| {
            u32::try_from(value)
                .ok()
                // The system's "no id".
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| Problem::refused("an owner that Linux cannot have"))
        };
        // Some writers leave blank what is zero.
        let raw = header.as_old();
        let blank = |field: &[u8]| field.iter().all(|byte| matches!(byte, 0 | b' '));
        let number = |field: &[u8], value: fn(&tar::Header) -> io::Result<u64>| {
            if blank(field) {
                Ok(0)
            } else {
                value(header).map_err(bad)
            }
        };
        Ok(Self {
            mode: if blank(&raw.mode) {
                0
            } else {
                header.mode().map_err(bad)?
            },
            uid: id(number(&raw.uid, tar::Header::uid)?)?,
            gid: id(number(&raw.gid, tar::Header::gid)?)?,
            mtime: i64::try_from(number(&raw.mtime, tar::Header::mtime)?).unwrap_or(0),
        })
    }

    /// Of a directory that no layer describes.
    pub(super) const fn plain(mode: u32) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
        }
    }

    /// Without set-user-ID and set-group-ID.
    pub(super) fn file_mode(&self, ownership: Ownership) -> Mode {
        mode(self.mode & 0o777, ownership)
    }

    /// The same, with the sticky bit: `/tmp` is a directory of many.
    pub(super) fn directory_mode(&self, ownership: Ownership) -> Mode {
        mode(self.mode & 0o1777, ownership)
    }

    pub(super) fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }

    pub(super) const fn times(&self) -> Timestamps {
        let time = Timespec {
            tv_sec: self.mtime,
            tv_nsec: 0,
        };
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    }
}

fn mode(bits: RawMode, ownership: Ownership) -> Mode {
    Mode::from_raw_mode(match ownership {
        Ownership::Recorded => bits,
        Ownership::Ours => bits | ((bits >> 6) & 0o7),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_set_id_and_the_owners_bits_for_others() {
        let of = |mode| Attributes::plain(mode);
        assert_eq!(
            of(0o6755).file_mode(Ownership::Recorded).as_raw_mode(),
            0o755
        );
        assert_eq!(of(0o7700).file_mode(Ownership::Ours).as_raw_mode(), 0o707);
        assert_eq!(of(0o640).file_mode(Ownership::Ours).as_raw_mode(), 0o646);
        assert_eq!(
            of(0o7777).directory_mode(Ownership::Recorded).as_raw_mode(),
            0o1777
        );
        assert_eq!(
            of(0o2750).directory_mode(Ownership::Ours).as_raw_mode(),
            0o757
        );
    }
}
