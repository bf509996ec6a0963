//! Podman processes that somebody started who is gone, and that still make a container.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

/// How much of a command line is looked at. Ours are a few kilobytes.
const MAX_COMMAND_BYTES: u64 = 64 << 10;

/// Whether a process of ours is making the container of this name: has it after `--name`. Where the
/// kernel shows no processes, it is not known, and the answer is no.
pub(crate) fn is_being_made(container: &str) -> bool {
    let us = rustix::process::geteuid().as_raw();
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    processes.flatten().any(|entry| {
        let is_process = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        let is_ours = || entry.metadata().is_ok_and(|found| found.uid() == us);
        is_process
            && is_ours()
            && names(&entry.path().join("cmdline"), container)
            && !is_in_a_container(&entry.path().join("status"))
    })
}

/// What is in a container can call itself what it wants, but it has a number there, too.
fn is_in_a_container(status: &std::path::Path) -> bool {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().count() > 1)
}

fn names(command: &std::path::Path, container: &str) -> bool {
    let mut line = Vec::new();
    let read =
        File::open(command).and_then(|file| file.take(MAX_COMMAND_BYTES).read_to_end(&mut line));
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    read.is_ok()
        && words
            .windows(2)
            .any(|pair| pair == [b"--name".as_slice(), container.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a process with a command line to be found"
    )]
    fn who_makes_a_container_is_found_until_it_ends() {
        let name = format!("axo-in-flight-{}", std::process::id());
        assert!(!is_being_made(&name));
        let mut maker = std::process::Command::new("/bin/sh")
            .args(["-c", "read x", "sh", "run", "--name", &name])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Until then it is this program still.
        while !is_being_made(&name) {
            assert!(maker.try_wait().unwrap().is_none());
        }
        assert!(!is_being_made(&name[..name.len() - 1]));
        drop(maker.stdin.take());
        maker.wait().unwrap();
        assert!(!is_being_made(&name));
    }
}
