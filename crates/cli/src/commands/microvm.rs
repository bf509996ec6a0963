//! `axocoatl microvm`: what machines are made of.

use axocoatl_isolation::machines::{
    Artifacts, Component, FirecrackerSource, KernelSource, MachineFiles, Release, install, kept,
    remove, vulnerabilities,
};
use axocoatl_isolation::{BoxError, Places};
use serde_json::json;

use super::fail;
use crate::args;
use crate::exit::Exit;
use crate::printer::Printer;

/// Nobody else can use what is installed.
#[derive(Debug, thiserror::Error)]
#[error("only root can make the jail of a machine, so nothing was installed; run this as root")]
struct NotRoot;

pub(super) async fn run(command: args::Microvm, printer: &Printer) -> Exit {
    let places = match Places::of_process() {
        Ok(places) => places,
        Err(error) => return fail(printer, &error, Exit::Failed),
    };
    let result = match command {
        args::Microvm::Setup(arguments) => setup(arguments, &places, printer).await,
        args::Microvm::Show => show(&places, printer),
        args::Microvm::Rm => forget(&places, printer),
    };
    match result {
        Ok(()) => Exit::Success,
        Err(error) => fail(printer, error.as_ref(), Exit::Failed),
    }
}

async fn setup(
    arguments: args::MicrovmSetup,
    places: &Places,
    printer: &Printer,
) -> Result<(), BoxError> {
    if !rustix::process::geteuid().is_root() {
        return Err(NotRoot.into());
    }
    let firecracker = match (arguments.firecracker, arguments.jailer, arguments.release) {
        (Some(firecracker), Some(jailer), _) => FirecrackerSource::Given {
            firecracker,
            jailer,
        },
        (_, _, Some(version)) => FirecrackerSource::Release(Release {
            version,
            sha256: arguments.sha256,
            base_url: arguments.from,
        }),
        _ => FirecrackerSource::Installed,
    };
    let kernel = match arguments.kernel {
        Some(kernel) => KernelSource::Given {
            kernel,
            modules: arguments.modules,
        },
        None => KernelSource::Installed,
    };
    let artifacts = install(&places.data, &firecracker, &kernel).await?;
    tell("installed ", &artifacts, &[], printer);
    Ok(())
}

fn show(places: &Places, printer: &Printer) -> Result<(), BoxError> {
    let artifacts = Artifacts::open(&places.data)?;
    tell("", &artifacts, &kept(&places.data)?, printer);
    Ok(())
}

/// Tells what is installed, what is known against it, and what is kept.
fn tell(verb: &str, artifacts: &Artifacts, kept: &[MachineFiles], printer: &Printer) {
    let versions = &artifacts.versions;
    let parts = [
        ("firecracker", &versions.firecracker),
        ("jailer", &versions.jailer),
        ("kernel", &versions.kernel),
    ];
    let known = vulnerabilities(versions);
    let wire = |part: &Component| json!({"version": part.version, "sha256": part.sha256, "from": part.from});
    printer.result(
        || {
            json!({
                "firecracker": wire(&versions.firecracker),
                "jailer": wire(&versions.jailer),
                "kernel": wire(&versions.kernel),
                "vulnerabilities": known.iter().map(|one| json!({"id": one.id, "message": one.message, "concerns": one.concerns})).collect::<Vec<_>>(),
                "kept": kept.iter().map(|one| json!({"what": one.what, "count": one.count, "bytes": one.bytes})).collect::<Vec<_>>(),
            })
        },
        || {
            let mut lines: Vec<String> = parts
                .iter()
                .map(|(name, part)| {
                    format!("{verb}{name} {} from {} (sha256 {})", part.version, part.from, part.sha256)
                })
                .collect();
            lines.extend(kept.iter().map(|one| {
                format!("{} {} kept, {} MiB", one.count, one.what, one.bytes.div_ceil(1 << 20))
            }));
            lines.extend(
                known
                    .iter()
                    .map(|one| format!("known: {}", one.message)),
            );
            if !verb.is_empty() {
                lines.push("whether a machine runs here: axocoatl tiers".to_owned());
            }
            lines.join("\n")
        },
    );
}

fn forget(places: &Places, printer: &Printer) -> Result<(), BoxError> {
    let bytes = remove(&places.data)?;
    printer.result(
        || json!({ "removed_bytes": bytes }),
        || match bytes {
            0 => "there was nothing".to_owned(),
            bytes => format!("removed, {} MiB", bytes.div_ceil(1 << 20)),
        },
    );
    Ok(())
}
