//! One call in a container that waits for it.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use axo_core::{Finished, OutputFile, PlacedCall, Termination, Usage};
use axo_runner::{Exited, Launch, OutputFound, Status};

use crate::failed::Failed;
use crate::runner::RunnerError;
pub(crate) use crate::sandbox::Stopped;
use crate::sandbox::{Ended, Waiting};
use crate::tool::{MAX_COMMAND_BYTES, Tool, command_bytes};

/// Files and directories in a tool's scratch space.
pub(crate) const SCRATCH_INODES: u64 = 8192;
/// Output files up to this size are read where we are; longer ones where blocking is allowed.
const SHORT_READ: u64 = 256 << 10;

/// What is executed for a call. It fits in a packet.
pub(crate) fn launch(tool: &Tool, call: &PlacedCall) -> Result<Launch, Failed> {
    let launch = Launch {
        program: tool.program.path.clone(),
        args: tool.args.clone(),
        env: environment(tool, call),
    };
    match command_bytes(&launch.args, &launch.env) {
        ..=MAX_COMMAND_BYTES => Ok(launch),
        bytes => Err(Failed::Beyond {
            needs: format!(
                "variables that take {bytes} bytes with its command, where {MAX_COMMAND_BYTES} bytes is the most"
            ),
            fix: "grant it fewer or shorter variables; a document goes into the input".into(),
        }),
    }
}

/// Runs the call, and answers what it came to, with the sandbox, which is clearing up.
pub(crate) async fn run(
    waiting: Waiting,
    launch: Launch,
    tool: &Tool,
    call: &PlacedCall,
) -> Result<(Finished, Ended), RunnerError> {
    let limit = call.limits().output.as_usize();
    let running = waiting
        .start(call.input().text().as_bytes(), launch, limit)
        .await?;
    let (exit, ended) = running.attend(call.limits().wall).await?;
    let exited = exit.exited;
    let finished = Finished {
        termination: termination(exit.stopped, &exited),
        stdout: exit.stdout,
        stderr: exit.stderr,
        output_file: read_output(&exited.output, exit.output, limit as u64).await,
        usage: Usage {
            wall: exit.wall,
            cpu: exited.cpu_micros.map(Duration::from_micros),
            peak_memory: exited.peak_memory,
            fuel: None,
        },
        digest: Some(tool.digest.clone()),
    };
    Ok((finished, ended))
}

pub(crate) fn termination(stopped: Option<Stopped>, exited: &Exited) -> Termination {
    match (stopped, exited.status) {
        (Some(Stopped::Late), _) => Termination::TimedOut,
        (Some(Stopped::Flooding), _) => Termination::OutputLimit,
        (None, Status::Exited(0)) => Termination::Exited(0),
        // A tool that goes on after the kernel took one of its processes for memory, and succeeds,
        // has succeeded.
        (None, _) if exited.out_of_memory => Termination::OutOfMemory,
        (None, Status::Exited(code)) => Termination::Exited(code),
        (None, Status::Signaled(signal)) => Termination::Signaled(signal),
    }
}

async fn read_output(found: &OutputFound, file: Option<File>, limit: u64) -> OutputFile {
    let file = match (found, file) {
        (OutputFound::Absent, _) => return OutputFile::Absent,
        (OutputFound::Refused(why), _) => return OutputFile::Refused(why.clone()),
        (OutputFound::Opened, None) => return OutputFile::Refused("it was not handed over".into()),
        (OutputFound::Opened, Some(file)) => file,
    };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    if length > limit {
        return OutputFile::Refused(format!("it has {length} bytes, and the limit is {limit}"));
    }
    let read = move || {
        let mut bytes = Vec::new();
        match file.take(limit + 1).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > limit => {
                OutputFile::Refused(format!("it has more bytes than the limit, {limit}"))
            }
            Ok(_) => OutputFile::Read(bytes),
            Err(e) => OutputFile::Refused(format!("it cannot be read: {e}")),
        }
    };
    if length <= SHORT_READ {
        return read();
    }
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|_| OutputFile::Refused("reading it was given up".into()))
}

/// The contract's variables, then those of the bundle or image, then the granted ones. A bundle or
/// image may say where its programs are; nothing of it replaces another variable of the contract.
fn environment(tool: &Tool, call: &PlacedCall) -> Vec<String> {
    const CONTRACT: [&str; 4] = ["PATH", "HOME", "AXOCOATL_TOOL", "AXOCOATL_CALL_ID"];
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match all.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => all.push((name.to_owned(), value.to_owned())),
    };
    let contract: Vec<(&str, String)> = call.environment().collect();
    for (name, value) in contract.iter().filter(|(name, _)| CONTRACT.contains(name)) {
        set(name, value);
    }
    for variable in &tool.env {
        if let Some((name, value)) = variable.split_once('=')
            && (name == "PATH" || !CONTRACT.contains(&name))
            && !name.is_empty()
        {
            set(name, value);
        }
    }
    for (name, value) in contract.iter().filter(|(name, _)| !CONTRACT.contains(name)) {
        set(name, value);
    }
    all.into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(status: Status, out_of_memory: bool) -> Exited {
        Exited {
            status,
            out_of_memory,
            cpu_micros: None,
            peak_memory: None,
            output: OutputFound::Absent,
        }
    }

    #[test]
    fn an_end_is_told_by_its_first_cause() {
        let killed = exited(Status::Signaled(9), false);
        assert_eq!(
            termination(Some(Stopped::Late), &killed),
            Termination::TimedOut
        );
        assert_eq!(termination(None, &killed), Termination::Signaled(9));
        let starved = exited(Status::Exited(1), true);
        assert_eq!(termination(None, &starved), Termination::OutOfMemory);
        let recovered = exited(Status::Exited(0), true);
        assert_eq!(termination(None, &recovered), Termination::Exited(0));
    }

    #[tokio::test]
    async fn an_output_file_longer_than_the_limit_is_refused_whatever_it_says_of_itself() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("o");
        std::fs::write(&path, "12345").unwrap();
        let open = || Some(File::open(&path).unwrap());
        assert_eq!(
            read_output(&OutputFound::Opened, open(), 5).await,
            OutputFile::Read(b"12345".to_vec())
        );
        assert!(matches!(
            read_output(&OutputFound::Opened, open(), 4).await,
            OutputFile::Refused(_)
        ));
        // Says that it is empty, and is not.
        let endless = Some(File::open("/dev/zero").unwrap());
        assert!(matches!(
            read_output(&OutputFound::Opened, endless, 100).await,
            OutputFile::Refused(_)
        ));
    }
}
