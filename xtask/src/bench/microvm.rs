//! Where machines are measured: here, or in `vmhost` where this host's KVM runs no guest.

use anyhow::{Context as _, Result};

use super::Arguments;
use crate::nested::{self, HOST_OF_MACHINES};
use crate::shell::{Shell, say};

/// Where the results lie, in the directory of results.
const RESULTS: &str = "microvm.json";

/// The bench and the command were built.
pub(super) fn run(shell: &Shell, arguments: &Arguments) -> Result<()> {
    let shared = nested::shared()?;
    let home = shared.path().join("machines");
    let machines = nested::set_up_machines(shell, &home)?;
    // Absolute, for the bench starts elsewhere than where the developer is.
    let out = match &arguments.out {
        Some(out) => Some(std::path::absolute(out).context("the working directory is gone")?),
        None => None,
    };
    let json = arguments.json.then_some("--json");
    let Some(why) = nested::no_machine(shell, &home)? else {
        let mut command = shell
            .command(shell.release("bench"))
            .env("AXO_MACHINES", &machines)
            .arg("microvm")
            .args(json);
        if let Some(out) = &out {
            command = command.arg("--out").arg(out);
        }
        return command.run();
    };
    say(format_args!(
        "tier microvm does not work on this host ({why}), so it is measured in vmhost, whose processor \
         is emulated: no time is that of a real one"
    ));
    let results = shared.path().join("results");
    let bench = nested::share(&shell.release("bench"), &shared, "bench")?;
    let mut command = nested::vmhost(shell, shared.path())?
        .args(HOST_OF_MACHINES)
        .arg("--results")
        .arg(&results)
        .args(["--env", &format!("AXO_MACHINES={}", machines.display())])
        .arg("--")
        .arg(bench)
        .arg("microvm")
        .args(json);
    if out.is_some() {
        command = command.args(["--out", &format!("/results/{RESULTS}")]);
    }
    command.run()?;
    if let Some(out) = out {
        let results = results.join(RESULTS);
        std::fs::copy(&results, &out)
            .with_context(|| format!("copying {} to {}", results.display(), out.display()))?;
    }
    Ok(())
}
