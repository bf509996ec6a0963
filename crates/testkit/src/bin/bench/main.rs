//! `cargo xtask bench`: times of whole work, beside the peer it is compared with in the same run.
//!
//! Nothing here asserts a time: a budget that is missed is printed as missed.
#![expect(
    clippy::disallowed_methods,
    reason = "whole processes are among what is measured"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is its purpose"
)]

mod bare;
mod bundle;
mod contestant;
mod memory;
mod microvm;
mod oci;
mod process;
mod processes;
mod sample;
mod session;
mod wasm;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

fn main() -> ExitCode {
    // It starts itself as compiler process, as every program that embeds the engine should.
    axocoatl_isolation::serve_compiler_if_asked();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut json = false;
    let mut out = None;
    let mut suite = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--out" => {
                out = Some(PathBuf::from(
                    arguments.next().context("--out needs a FILE")?,
                ))
            }
            name if suite.is_none() && !name.starts_with('-') => suite = Some(name.to_owned()),
            other => bail!(
                "{other:?} is not an argument of bench: wasm|oci|microvm|session [--json] [--out FILE]"
            ),
        }
    }
    let report = match suite.as_deref() {
        Some("wasm") => wasm::suite()?,
        Some("oci") => oci::suite()?,
        Some("microvm") => microvm::suite()?,
        Some("session") => session::suite()?,
        Some(other) => {
            bail!("there is no suite {other:?}: wasm, oci, microvm and session are those there are")
        }
        None => bail!("name a suite: wasm, oci, microvm or session"),
    };
    if json {
        println!("{:#}", report.to_json())
    } else {
        print!("{report}")
    }
    if let Some(path) = out {
        let text = format!("{:#}\n", report.to_json());
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
