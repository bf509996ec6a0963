//! From source to module.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::TOOLS;
use crate::shell::{Shell, say};

/// Modules that are committed, so that the tests and a first try need no C compiler for WebAssembly.
const COMMITTED: &[&str] = &["examples/tools/word-count/word-count.wasm", PROBE_MODULE];
const PROBE: &str = "crates/testkit/probe";
const PROBE_MODULE: &str = "crates/testkit/probe/probe.wasm";

/// The major version of Clang that the committed modules were built with.
const CLANG: &str = "14";

/// Node trusts only the authorities it brings along, and so npm does. These are the system's too.
const NODE_CERTIFICATES: &str = "NODE_EXTRA_CA_CERTS";
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(super) fn tool(shell: &Shell, name: &str) -> Result<()> {
    script(shell, &format!("{TOOLS}/{name}"), &[])
}

/// The probe for every tier: the WebAssembly module and the static program.
pub(super) fn probe(shell: &Shell) -> Result<()> {
    script(shell, PROBE, &[])?;
    let native = shell.scratch("probe")?.join("probe");
    script(shell, PROBE, &["native".as_ref(), native.as_os_str()])
}

fn script(shell: &Shell, directory: &str, arguments: &[&std::ffi::OsStr]) -> Result<()> {
    let committed = COMMITTED
        .iter()
        .find(|module| Path::new(module).starts_with(directory));
    let before = committed
        .map(|module| Committed::read(shell, module))
        .transpose()?;
    let start = Instant::now();
    let mut command = shell
        .command("sh")
        .arg(format!("{directory}/build.sh"))
        .args(arguments)
        .env("AXO_TOOLCHAINS", shell.target.join("toolchains"));
    if std::env::var_os(NODE_CERTIFICATES).is_none() && Path::new(CERTIFICATES).is_file() {
        command = command.env(NODE_CERTIFICATES, CERTIFICATES);
    }
    command.run()?;
    if let Some(before) = before {
        before.check(shell)?;
    }
    say(format_args!(
        "  built in {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// A committed module before it is built again.
struct Committed {
    name: &'static str,
    bytes: Vec<u8>,
    modified: std::time::SystemTime,
}

impl Committed {
    fn read(shell: &Shell, name: &'static str) -> Result<Self> {
        let path = shell.root.join(name);
        let missing = || format!("{name} is committed, but cannot be read: git checkout {name}");
        let bytes = std::fs::read(&path).with_context(missing)?;
        let modified = std::fs::metadata(&path)
            .and_then(|m| m.modified())
            .with_context(missing)?;
        Ok(Self {
            name,
            bytes,
            modified,
        })
    }

    fn check(&self, shell: &Shell) -> Result<()> {
        let path = shell.root.join(self.name);
        let built =
            std::fs::read(&path).with_context(|| format!("its build left no {}", self.name))?;
        if built != self.bytes {
            bail!("{}", self.difference(shell));
        }
        // As it was, so that cargo does not compile again what includes it.
        std::fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(self.modified))
            .with_context(|| format!("setting the time of {} back", self.name))
    }

    fn difference(&self, shell: &Shell) -> String {
        let version = shell
            .command("clang")
            .arg("--version")
            .text()
            .unwrap_or_default();
        let line = version
            .lines()
            .next()
            .unwrap_or("there is no clang")
            .to_owned();
        let is_same = line.contains(&format!("version {CLANG}."));
        let hint = if is_same {
            "If its source has changed, commit the new one, which is in its place now".to_owned()
        } else {
            format!(
                "It is built with clang {CLANG}, and here is another ({line}): git checkout {}",
                self.name
            )
        };
        format!(
            "{} is not what its source gives: built again, it differs. {hint}",
            self.name
        )
    }
}
