//! The supervisor process of one sandbox. It is started by the engine only, with a socket as
//! standard input; see the library for what it hears and answers.
//!
//! Called `echo` it is another program, which copies standard input to standard output: the tool
//! that `doctor` proves the container tier with, since it needs nothing of a root file system.

mod supervisor;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == "echo")
    {
        let copied = std::io::copy(&mut std::io::stdin(), &mut std::io::stdout());
        return ExitCode::from(u8::from(copied.is_err()));
    }
    supervisor::run()
}
