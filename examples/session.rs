//! What an agent does in a session: a command whose output is heard as it comes, a background process
//! that is left and gone back to, and files.
//!
//! ```console
//! $ cargo run --release -p axocoatl-isolation --features podman-sessions --example session -- IMAGE DIR
//! ```
//!
//! IMAGE is one of the store (`axocoatl image ls`) with `/bin/sh`, DIR an existing directory to work in.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use axocoatl_isolation::sessions::{
    How, Position, ProcessEvent, Run, Session, SessionSpec, admit, open,
};
use axocoatl_isolation::{Places, images, policy_of};

/// `SIGTERM`.
const TERMINATE: i32 = 15;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(image), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("write: session IMAGE DIR".into());
    };
    // The operator's rules decide whether the session may be; without a policy file, what needs no
    // grant.
    let places = Places::of_process()?;
    let policy = policy_of(&places)?;
    let sessions = open(places, policy.clone())?;
    let mut spec = SessionSpec::new(image);
    spec.directory = Some(PathBuf::from(directory).canonicalize()?);
    let session = sessions
        .create(&admit(spec, &policy)?, Arc::new(images::Silent))
        .await?;
    println!("session {} is ready", session.record().id);

    // It is removed whatever comes of the work.
    let worked = work(&session).await;
    sessions.remove(&session).await?;
    worked
}

async fn work(session: &Session) -> Result<(), Box<dyn Error>> {
    let build = "for part in 1 2 3; do echo part $part; sleep 0.1; done; exit 3";
    let mut process = session.run(Run::new(["/bin/sh", "-c", build])).await?;
    while let Some(event) = process.next().await? {
        match event {
            ProcessEvent::Output(bytes) | ProcessEvent::Error(bytes) => {
                print!("{}", String::from_utf8_lossy(bytes));
            }
            ProcessEvent::Exited(exited) => {
                println!("ended: {:?}", exited.status);
                break;
            }
            _ => {}
        }
    }

    // Nobody listens to it now; what it writes is kept, and the session's next owner may be another
    // process.
    let server = "while :; do echo alive; sleep 0.2; done";
    let run = Run::new(["/bin/sh", "-c", server]).in_background();
    let server = session.run(run).await?.id();
    let mut again = session.attach(server, Position::Start, false).await?;
    if let Some(ProcessEvent::Output(bytes)) = again.next().await? {
        print!("from the background: {}", String::from_utf8_lossy(bytes));
    }
    session.signal(server, TERMINATE).await?;

    let root = session.record().working_directory;
    let files = session.files(root)?;
    let notes = b"written from outside\n";
    files
        .write("notes", How::Replace, Some(0o644), &mut &notes[..])
        .await?;
    let counted = session
        .output(Run::new(["wc", "-c", "notes"]), 1 << 10)
        .await?;
    print!(
        "counted inside: {}",
        String::from_utf8_lossy(&counted.stdout)
    );
    for entry in files.list(".", 1, 100).await?.entries {
        println!("listed: {}", String::from_utf8_lossy(&entry.path));
    }
    Ok(())
}
