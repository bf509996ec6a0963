//! The program that a tool's command names, looked at before anything is made.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

use super::Tool;

/// What the kernel reads of a program to tell what it is, in bytes.
const HEAD: usize = 256;
/// Most scripts whose interpreter is a script: the kernel's own bound (`BINPRM_MAX_RECURSION`) is 5.
const MAX_INTERPRETERS: usize = 4;
/// Where a program without a slash is looked for if the tool's own environment says nothing.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("it has no command to run")]
    NoCommand,
    #[error("its program {0:?} is not in its root file system")]
    Absent(String),
    #[error(
        "its program {0:?} is not of its root file system: name it by a path without '..', and not \
         below /proc, /sys, /dev, /tmp or /axocoatl"
    )]
    Elsewhere(String),
    #[error("its program {0:?} is not an executable file")]
    NotExecutable(String),
    #[error("its program {program:?} is made for {found}, and this host is {host}")]
    Architecture {
        program: String,
        found: String,
        host: &'static str,
    },
    #[error("its program {0:?} is a script whose interpreter {1:?} is not in its root file system")]
    NoInterpreter(String, String),
    #[error("examining its program {program:?}")]
    Examine { program: String, source: io::Error },
}

/// Checks the command of a tool, and answers the program's file.
pub(super) fn check(tool: &Tool) -> Result<File, ProgramError> {
    let program = tool.args.first().ok_or(ProgramError::NoCommand)?;
    refuse_what_is_not_its_own(program)?;
    if let Some(inside) = program
        .strip_prefix("/tool/")
        .filter(|_| tool.files.is_some())
    {
        // Its own files are mounted over whatever the image has there.
        let files = tool.files.as_ref().ok_or(ProgramError::NoCommand)?;
        let file = open(files, inside).map_err(|e| examined(program, e))?;
        return examine(&tool.root, program, file, 0);
    }
    let file = find(tool, program)?;
    examine(&tool.root, program, file, 0)
}

fn find(tool: &Tool, program: &str) -> Result<File, ProgramError> {
    let candidates: Vec<String> = if program.starts_with('/') {
        vec![program.to_owned()]
    } else if program.contains('/') {
        vec![format!("{}/{program}", tool.directory)]
    } else {
        let path = tool
            .env
            .iter()
            .find_map(|variable| variable.strip_prefix("PATH="))
            .unwrap_or(DEFAULT_PATH);
        path.split(':')
            .filter(|directory| {
                directory.starts_with('/') && refuse_what_is_not_its_own(directory).is_ok()
            })
            .map(|directory| format!("{directory}/{program}"))
            .collect()
    };
    for candidate in &candidates {
        match open(&tool.root, candidate) {
            Ok(file) => return Ok(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {}
            Err(e) => return Err(examined(program, e)),
        }
    }
    Err(ProgramError::Absent(program.to_owned()))
}

/// Opens a path as it would resolve inside the root; links lead nowhere else.
fn open(root: &OwnedFd, path: &str) -> io::Result<File> {
    let file = openat2(
        root,
        path,
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    Ok(file.into())
}

fn examine(
    root: &OwnedFd,
    program: &str,
    mut file: File,
    depth: usize,
) -> Result<File, ProgramError> {
    let stat = fstat(&file).map_err(|e| examined(program, e.into()))?;
    let executable = stat.st_mode & 0o111 != 0;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !executable {
        return Err(ProgramError::NotExecutable(program.to_owned()));
    }
    let mut head = [0; HEAD];
    let read = file.read(&mut head).map_err(|e| examined(program, e))?;
    let head = &head[..read];
    if let Some(found) = foreign_elf(head) {
        return Err(ProgramError::Architecture {
            program: program.to_owned(),
            found,
            host: std::env::consts::ARCH,
        });
    }
    if let Some(interpreter) = interpreter(head).filter(|_| depth < MAX_INTERPRETERS) {
        refuse_what_is_not_its_own(&interpreter)?;
        let found = open(root, &interpreter)
            .map_err(|_| ProgramError::NoInterpreter(program.to_owned(), interpreter.clone()))?;
        examine(root, &interpreter, found, depth + 1)?;
    }
    Ok(file)
}

/// Places of a container that show something else than the root file system does: what was looked
/// at would not be what runs.
const OTHERS: [&str; 5] = ["/proc", "/sys", "/dev", "/tmp", "/axocoatl"];

/// A program by a path into one of [`OTHERS`], or one with `..`, which could lead there.
fn refuse_what_is_not_its_own(program: &str) -> Result<(), ProgramError> {
    let plain: Vec<&str> = program
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let first = plain.first().copied().unwrap_or_default();
    let leads_there = OTHERS
        .iter()
        .any(|place| place.strip_prefix('/') == Some(first));
    if plain.contains(&"..") || (program.starts_with('/') && leads_there) {
        return Err(ProgramError::Elsewhere(program.to_owned()));
    }
    Ok(())
}

/// The interpreter that a script's first line names.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let text = std::str::from_utf8(line).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

/// What machine an ELF program is made for, if it is another than this.
fn foreign_elf(head: &[u8]) -> Option<String> {
    // From the ELF specification: class at 4, byte order at 5, machine at 18.
    const EM_386: u16 = 3;
    const EM_ARM: u16 = 40;
    const EM_X86_64: u16 = 62;
    const EM_AARCH64: u16 = 183;
    const EM_RISCV: u16 = 243;
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return None;
    }
    let two = [head[18], head[19]];
    let machine = if head[5] == 2 {
        u16::from_be_bytes(two)
    } else {
        u16::from_le_bytes(two)
    };
    let ours = if cfg!(target_arch = "x86_64") {
        EM_X86_64
    } else {
        EM_AARCH64
    };
    if machine == ours {
        return None;
    }
    Some(match machine {
        EM_386 => "x86 (32 bits)".to_owned(),
        EM_ARM => "arm (32 bits)".to_owned(),
        EM_X86_64 => "x86_64".to_owned(),
        EM_AARCH64 => "aarch64".to_owned(),
        EM_RISCV => "riscv".to_owned(),
        other => format!("ELF machine {other}"),
    })
}

fn examined(program: &str, source: io::Error) -> ProgramError {
    if source.kind() == io::ErrorKind::NotFound {
        ProgramError::Absent(program.to_owned())
    } else {
        ProgramError::Examine {
            program: program.to_owned(),
            source,
        }
    }
}
