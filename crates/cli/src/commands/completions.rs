//! `axocoatl completions`: a script for the user's shell.

use clap::CommandFactory as _;

use crate::args::Arguments;
use crate::exit::Exit;

pub(super) fn run(shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "axocoatl", &mut script);
    use std::io::Write as _;
    match std::io::stdout().lock().write_all(&script) {
        Ok(()) => Exit::Success,
        Err(_) => Exit::Failed,
    }
}
