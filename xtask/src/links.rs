//! No system library is linked: the command builds with a Rust toolchain and a C compiler alone.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::shell::{Shell, say};

/// The package that is shipped.
const COMMAND: &str = "axocoatl";

/// Crates that say `links` or are called `-sys` and link no library of the system.
const HARMLESS: &[(&str, &str)] = &[
    ("linux-raw-sys", "the kernel's constants and types"),
    ("ring", "its own C and assembly, compiled with it"),
    ("zstd-sys", "the C library's source, compiled with it"),
    (
        "rayon-core",
        "`links` only keeps a second version of its global pool out",
    ),
];

pub(crate) fn check(shell: &Shell) -> Result<()> {
    let version = shell.command("rustc").arg("-vV").text()?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` names no host")?;
    let metadata = shell
        .cargo()
        .args([
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--filter-platform",
            host,
        ])
        .json()?;
    let (count, offenders) = offenders(&metadata)?;
    ensure!(
        offenders.is_empty(),
        "{COMMAND} would link libraries of the system through:\n  {}\n\
         Find who needs each with `cargo tree -e normal,build -i CRATE`. Turn that feature off, or, \
         if nothing is linked, add the crate with the reason to HARMLESS in xtask/src/links.rs",
        offenders.join("\n  ")
    );
    say(format_args!(
        "{count} packages make {COMMAND} for {host}; none links a library of the system"
    ));
    Ok(())
}

/// How many packages the command is made of, and which of them link a library of the system.
fn offenders(metadata: &Value) -> Result<(usize, Vec<String>)> {
    let packages: HashMap<&str, &Value> = entries(&metadata["packages"]).collect();
    let nodes: HashMap<&str, &Value> = entries(&metadata["resolve"]["nodes"]).collect();
    let (start, _) = packages
        .iter()
        .find(|(_, package)| package["name"] == COMMAND && package["source"].is_null())
        .with_context(|| format!("the workspace has no package {COMMAND}"))?;

    let mut reached = BTreeSet::from([*start]);
    let mut left = vec![*start];
    while let Some(id) = left.pop() {
        let node = nodes
            .get(id)
            .with_context(|| format!("cargo metadata does not resolve {id}"))?;
        for dependency in items(&node["deps"]).filter(|dependency| is_built(dependency)) {
            let id = dependency["pkg"]
                .as_str()
                .context("a dependency without an id")?;
            if reached.insert(id) {
                left.push(id);
            }
        }
    }
    let offenders = reached
        .iter()
        .filter_map(|id| offence(packages.get(id)?))
        .collect();
    Ok((reached.len(), offenders))
}

fn items(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

fn entries(array: &Value) -> impl Iterator<Item = (&str, &Value)> {
    items(array).filter_map(|entry| Some((entry["id"].as_str()?, entry)))
}

/// Whether it is for more than tests and benches.
fn is_built(dependency: &Value) -> bool {
    items(&dependency["dep_kinds"]).any(|kind| kind["kind"] != "dev")
}

fn offence(package: &Value) -> Option<String> {
    let name = package["name"].as_str()?;
    let links = package["links"].as_str();
    let suspect = links.is_some() || name.ends_with("-sys");
    if !suspect || HARMLESS.iter().any(|(harmless, _)| *harmless == name) {
        return None;
    }
    let version = package["version"].as_str().unwrap_or_default();
    Some(format!(
        "{name} {version} (links: {})",
        links.unwrap_or("not said")
    ))
}

#[cfg(test)]
mod tests;
