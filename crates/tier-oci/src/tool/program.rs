//! The program that a tool's command names, looked at before anything is made.

use std::fs::File;
use std::io::{self, Read as _};

use axo_core::DEFAULT_PATH;
use rustix::fs::{FileType, fstat};

use super::lookup::{Found, LookupError, Places, is_beneath, parts};

/// What the kernel reads of a program to tell what it is, in bytes.
const HEAD: usize = 256;
/// Most scripts whose interpreter is a script: the kernel's own bound (`BINPRM_MAX_RECURSION`) is 5.
const MAX_INTERPRETERS: usize = 4;
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

/// What a tool's command is looked up by.
pub(super) struct Command<'a> {
    pub(super) args: &'a [String],
    pub(super) env: &'a [String],
    pub(super) directory: &'a str,
    pub(super) places: Places<'a>,
}

/// The program that a command names, found once and for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its absolute path in the container.
    pub(crate) path: String,
    /// Everything that its lookup, and that of its interpreters, passes through.
    through: Vec<String>,
}

impl Program {
    /// Whether something mounted at `target` would change what is executed.
    pub(super) fn is_covered_by(&self, target: &str) -> bool {
        self.through.iter().any(|path| is_beneath(path, target))
    }
}

/// Checks a command, and answers its program with the program's file.
pub(super) fn check(command: &Command<'_>) -> Result<(Program, File), ProgramError> {
    let name = command.args.first().ok_or(ProgramError::NoCommand)?;
    let (path, found) = find(command, name)?;
    let mut program = Program {
        path,
        through: found.through,
    };
    let file = examine(command, name, found.file, &mut program.through, 0)?;
    Ok((program, file))
}

/// Finds a program as a shell would: by its path, or in the directories of `PATH`.
fn find(command: &Command<'_>, name: &str) -> Result<(String, Found), ProgramError> {
    if name.contains('/') {
        let path = absolute(command.directory, name)?;
        let found = command.places.find(&path).map_err(|e| examined(name, e))?;
        return Ok((path, found));
    }
    let path = command
        .env
        .iter()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    for directory in path.split(':').filter(|place| place.starts_with('/')) {
        let Ok(path) = absolute(directory, name) else {
            continue;
        };
        match command.places.find(&path) {
            Ok(found) => return Ok((path, found)),
            Err(LookupError::Elsewhere) => {}
            Err(LookupError::Io(e))
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(e) => return Err(examined(name, e)),
        }
    }
    Err(ProgramError::Absent(name.to_owned()))
}

/// `path` from `directory` on, without anything that leads up.
fn absolute(directory: &str, path: &str) -> Result<String, ProgramError> {
    let directory = if path.starts_with('/') { "" } else { directory };
    let all: Vec<String> = parts(directory).chain(parts(path)).collect();
    if all.iter().any(|part| part == "..") {
        return Err(ProgramError::Elsewhere(path.to_owned()));
    }
    Ok(format!("/{}", all.join("/")))
}

/// Looks at a program, and at its interpreters if it is a script. Adds what leads to those.
fn examine(
    command: &Command<'_>,
    name: &str,
    mut file: File,
    through: &mut Vec<String>,
    depth: usize,
) -> Result<File, ProgramError> {
    let failed = |e: io::Error| examined(name, LookupError::Io(e));
    let stat = fstat(&file).map_err(|e| failed(e.into()))?;
    let executable = stat.st_mode & 0o111 != 0;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !executable {
        return Err(ProgramError::NotExecutable(name.to_owned()));
    }
    let mut head = [0; HEAD];
    let read = file.read(&mut head).map_err(failed)?;
    let head = &head[..read];
    if let Some(found) = foreign_elf(head) {
        return Err(ProgramError::Architecture {
            program: name.to_owned(),
            found,
            host: std::env::consts::ARCH,
        });
    }
    if let Some(interpreter) = interpreter(head).filter(|_| depth < MAX_INTERPRETERS) {
        let path = absolute(command.directory, &interpreter)?;
        let found = command.places.find(&path).map_err(|e| match e {
            LookupError::Elsewhere => ProgramError::Elsewhere(interpreter.clone()),
            LookupError::Io(_) => ProgramError::NoInterpreter(name.to_owned(), interpreter.clone()),
        })?;
        through.extend(found.through);
        examine(command, &interpreter, found.file, through, depth + 1)?;
    }
    Ok(file)
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

fn examined(program: &str, error: LookupError) -> ProgramError {
    let program = program.to_owned();
    match error {
        LookupError::Elsewhere => ProgramError::Elsewhere(program),
        LookupError::Io(e) if e.kind() == io::ErrorKind::NotFound => ProgramError::Absent(program),
        LookupError::Io(source) => ProgramError::Examine { program, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::root::open_directory;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// What is checked and hashed is the file at the path that is executed.
    #[test]
    fn a_program_is_found_where_it_will_be_executed_and_nothing_may_cover_it() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        for directory in ["usr/bin", "tmp", "jobs", "opt"] {
            std::fs::create_dir_all(home.join(directory)).unwrap();
        }
        let write = |path: &str, text: &str| {
            std::fs::write(home.join(path), text).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(home.join(path), mode).unwrap();
        };
        write("opt/sh", "shell");
        write("tmp/x", "hidden");
        write("tmp/sh", "hidden");
        write("jobs/x", "#!/usr/bin/sh\n");
        symlink("/opt/sh", home.join("usr/bin/sh")).unwrap();
        let root = open_directory(&home).unwrap();
        let check = |args: &[&str], env: &[&str], directory: &str| {
            let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
            let (args, env): (Vec<String>, Vec<String>) = (texts(args), texts(env));
            let places = Places {
                root: &root,
                files: None,
            };
            let command = Command {
                args: &args,
                env: &env,
                directory,
                places,
            };
            check(&command).map(|(program, _)| program)
        };
        // Scratch space is over the root's own /tmp.
        for (name, directory) in [("./x", "/tmp"), ("x/../x", "/jobs"), ("/tmp/x", "/")] {
            let refused = check(&[name], &[], directory).unwrap_err();
            assert!(matches!(refused, ProgramError::Elsewhere(_)), "{refused}");
        }
        let path = ["PATH=/tmp:/jobs/x:/absent:/usr/bin"];
        let shell = check(&["sh", "-c", ":"], &path, "/").unwrap();
        assert_eq!(shell.path, "/usr/bin/sh");
        let script = check(&["./x"], &[], "/jobs").unwrap();
        assert_eq!(script.path, "/jobs/x");
        for target in ["/jobs", "/jobs/x", "/usr", "/usr/bin", "/opt", "/opt/sh"] {
            assert!(script.is_covered_by(target), "{target}");
        }
        for target in ["/jobs/x/y", "/job", "/data", "/usr/lib", "/tmp/data"] {
            assert!(!script.is_covered_by(target), "{target}");
        }
    }
}
