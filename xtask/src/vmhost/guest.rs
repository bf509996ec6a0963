//! What the scripts in the machine are told.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::arguments::Init;
use super::kernel::Kernel;

/// The scripts, by their names in the initramfs.
pub(super) const SCRIPTS: &[(&str, &str)] = &[
    ("init", include_str!("guest/init.sh")),
    ("run.sh", include_str!("guest/run.sh")),
    ("systemd.sh", include_str!("guest/systemd.sh")),
];

pub(super) struct Guest<'a> {
    pub(super) init: Init,
    pub(super) user: Option<&'a str>,
    pub(super) directory: &'a Path,
    pub(super) environment: &'a [(String, String)],
    pub(super) command: &'a [OsString],
    pub(super) shares: &'a [PathBuf],
    pub(super) has_layer: bool,
    pub(super) has_scratch: bool,
}

impl Guest<'_> {
    /// A script of assignments.
    pub(super) fn settings(&self, kernel: &Kernel) -> Vec<u8> {
        let flag = |there: bool| OsStr::new(if there { "1" } else { "" });
        assignments(&[
            ("AXO_INIT", OsStr::new(self.init.name())),
            ("AXO_USER", OsStr::new(self.user.unwrap_or_default())),
            ("AXO_LAYER", flag(self.has_layer)),
            ("AXO_SCRATCH", flag(self.has_scratch)),
            ("AXO_MODULES", kernel.modules.as_os_str()),
        ])
    }

    /// A script that becomes the command.
    pub(super) fn command_script(&self) -> Vec<u8> {
        let mut script = b"cd ".to_vec();
        quote(&mut script, self.directory.as_os_str());
        script.extend_from_slice(b" || exit 125\n");
        for (name, value) in self.environment {
            script.extend_from_slice(b"export ");
            script.extend(assignments(&[(name, OsStr::new(value))]));
        }
        script.extend_from_slice(b"exec");
        for word in self.command {
            script.push(b' ');
            quote(&mut script, word);
        }
        script.push(b'\n');
        script
    }

    /// The shared directories, one a line.
    pub(super) fn share_list(&self) -> Result<Vec<u8>> {
        let mut list = Vec::new();
        for share in self.shares {
            let path = share.as_os_str().as_bytes();
            // The list is of lines, and an overlay's options give these a meaning.
            ensure!(
                !path.iter().any(|byte| b"\n:,\\".contains(byte)),
                "{} cannot be shared: it has a colon, a comma, a backslash or a new line in it",
                share.display()
            );
            list.extend_from_slice(path);
            list.push(b'\n');
        }
        Ok(list)
    }
}

fn assignments(variables: &[(&str, &OsStr)]) -> Vec<u8> {
    let mut script = Vec::new();
    for (name, value) in variables {
        script.extend_from_slice(name.as_bytes());
        script.push(b'=');
        quote(&mut script, value);
        script.push(b'\n');
    }
    script
}

/// One word of a shell script, whatever bytes it is of.
fn quote(script: &mut Vec<u8>, word: &OsStr) {
    script.push(b'\'');
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => script.extend_from_slice(br"'\''"),
            _ => script.push(byte),
        }
    }
    script.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_as_they_were_given() {
        let guest = Guest {
            init: Init::Plain,
            user: None,
            directory: Path::new("/a dir"),
            environment: &[("K".to_owned(), "it's $HOME".to_owned())],
            command: &["echo".into(), OsString::new(), "a\nb".into()],
            shares: &[],
            has_layer: false,
            has_scratch: false,
        };
        assert_eq!(
            String::from_utf8(guest.command_script()).unwrap(),
            "cd '/a dir' || exit 125\nexport K='it'\\''s $HOME'\nexec 'echo' '' 'a\nb'\n"
        );
    }
}
