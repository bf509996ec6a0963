//! The supervisor process of one sandbox. It is started by the engine only, with a socket as
//! standard input; see the library for what it hears and answers.
//!
//! Called `echo` it is another program, which copies standard input to standard output: the tool
//! that `doctor` proves the container tier with, since it needs nothing of a root file system. Called
//! `kvm` it tries the host's KVM and says what came of it.

mod guest;
mod supervisor;

use std::process::ExitCode;

use axo_runner::TRY_KVM;

fn main() -> ExitCode {
    let first = std::env::args_os().nth(1);
    match first.as_deref().and_then(|first| first.to_str()) {
        Some("echo") => {
            let copied = std::io::copy(&mut std::io::stdin(), &mut std::io::stdout());
            ExitCode::from(u8::from(copied.is_err()))
        }
        Some(TRY_KVM) => {
            let told = serde_json::to_writer(std::io::stdout(), &guest::run());
            ExitCode::from(u8::from(told.is_err()))
        }
        _ => supervisor::run(),
    }
}
