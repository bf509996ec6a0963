//! The wire forms: what `--json` prints. The library's own types know nothing of them.

use std::path::Path;

pub(crate) use axocoatl_isolation::chain;
use axocoatl_isolation::images::{Image, Platform};
use axocoatl_isolation::{
    CallError, Denied, Listing, Outcome, Placement, Proof, Run, Termination, TierProof, ToolOutput,
    ToolSpec, Usage, WasmSource,
};
use serde_json::{Map, Value, json};

use crate::exit::Exit;

/// A path as text: JSON has no other, so what of it is not UTF-8 is replaced.
pub(crate) fn path(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

pub(crate) fn paths<P: AsRef<Path>>(paths: &[P]) -> Vec<String> {
    paths.iter().map(path).collect()
}

/// An outcome as JSON text. The output stands in it as the tool wrote it: as a value, numbers
/// beyond 64 bits would lose digits.
pub(crate) fn outcome_text(outcome: &Outcome) -> String {
    let mut text = without_output(outcome).to_string();
    let output = outcome
        .document()
        .map_or("null", |document| document.text());
    // The object is not empty, so its last character is the closing brace after a member.
    text.pop();
    text.push_str(",\"output\":");
    text.push_str(output);
    text.push('}');
    text
}

/// An outcome inside another document; its output is a value there.
fn outcome(outcome: &Outcome) -> Value {
    let mut value = without_output(outcome);
    value["output"] = outcome
        .document()
        .map_or(Value::Null, |document| document.value().clone());
    value
}

fn without_output(outcome: &Outcome) -> Value {
    let output_problem = match &outcome.output {
        ToolOutput::Document(_) => None,
        ToolOutput::Invalid(problem) => Some(problem.to_string()),
    };
    json!({
        "call_id": outcome.call_id.to_string(),
        "tool": outcome.tool.as_str(),
        "version": outcome.version.as_deref(),
        "tier": outcome.tier.as_str(),
        "termination": termination(&outcome.termination),
        "exit_code": outcome.exit_code(),
        "stdout": String::from_utf8_lossy(&outcome.stdout),
        "stderr": String::from_utf8_lossy(&outcome.stderr),
        "usage": usage(&outcome.usage),
        "placement": placement(&outcome.placement),
        "digest": outcome.digest.as_deref(),
        "output_problem": output_problem,
    })
}

fn termination(termination: &Termination) -> Value {
    let mut value = Map::new();
    value.insert("kind".into(), termination.as_str().into());
    match termination {
        Termination::Exited(code) => value.insert("code".into(), (*code).into()),
        Termination::Signaled(signal) => value.insert("signal".into(), (*signal).into()),
        Termination::Trapped(message) => value.insert("message".into(), message.as_str().into()),
        _ => None,
    };
    value.into()
}

/// Times in microseconds, memory in bytes.
fn usage(usage: &Usage) -> Value {
    let micros = |d: std::time::Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    json!({
        "wall_us": micros(usage.wall),
        "cpu_us": usage.cpu.map(micros),
        "peak_memory": usage.peak_memory,
        "fuel": usage.fuel,
    })
}

pub(crate) fn placement(placement: &Placement) -> Value {
    let candidates: Vec<_> = placement
        .candidates
        .iter()
        .map(|candidate| {
            json!({
                "tier": candidate.tier.as_str(),
                "chosen": candidate.exclusion.is_none(),
                "excluded": candidate.exclusion.as_ref().map(ToString::to_string),
            })
        })
        .collect();
    json!({
        "requirement": placement.requirement.as_str(),
        "form": placement.form.to_string(),
        "minimum": placement.minimum.as_str(),
        "minimum_source": placement.minimum_source.to_string(),
        "candidates": candidates,
        "tier": placement.chosen.map(|tier| tier.as_str()),
    })
}

pub(crate) fn call_error(error: &CallError) -> Value {
    let mut value = self::error(error, error.into());
    if let CallError::Denied(denied) = error {
        value["error"]["placement"] = denied_placement(denied);
    }
    if let Some(ran) = error.outcome() {
        value["outcome"] = outcome(ran);
    }
    value
}

fn denied_placement(denied: &Denied) -> Value {
    denied.placement().map_or(Value::Null, placement)
}

/// An error as JSON, with the exit code the command ends with.
pub(crate) fn error(error: &dyn std::error::Error, exit: Exit) -> Value {
    json!({ "error": { "message": chain(error), "exit_code": exit.code() } })
}

pub(crate) fn tier_proof(proof: &TierProof) -> Value {
    let tier = proof.tier.as_str();
    match &proof.proof {
        Proof::Works { took } => {
            json!({ "tier": tier, "works": true, "took_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX) })
        }
        Proof::Fails { reason, fix } => {
            json!({ "tier": tier, "works": false, "reason": reason, "fix": fix })
        }
    }
}

pub(crate) fn listing(listing: &Listing) -> Value {
    json!({
        "name": listing.name,
        "origin": listing.origin,
        "directory": listing.directory.as_ref().map(path),
        "version": listing.tool.as_ref().ok().and_then(|tool| tool.spec().version.as_deref()),
        "description": listing.tool.as_ref().ok().and_then(|tool| tool.spec().description.as_deref()),
        "requires": listing.tool.as_ref().ok().map(|tool| tool.spec().requires.as_str()),
        "error": listing.tool.as_ref().err().map(|e| chain(e)),
    })
}

/// An image of the store. Size in bytes.
pub(crate) fn image(image: &Image) -> Value {
    let config = &image.config;
    let platform = Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
    };
    json!({
        "digest": image.digest,
        "references": image.references,
        "size": image.size,
        "created": image.created,
        "platform": platform.to_string(),
        "entrypoint": config.entrypoint,
        "cmd": config.cmd,
        "env": config.env,
        "user": config.user,
        "working_dir": config.working_dir,
        "labels": config.labels,
        "layers": config.diff_ids.iter().map(|digest| digest.as_str()).collect::<Vec<_>>(),
        "rootfs": image.rootfs_key().as_str(),
    })
}

/// What runs, with the keys that a manifest has for it.
fn run(run: &Run) -> Value {
    match run {
        Run::Wasm(WasmSource::File(file)) => json!({ "wasm": path(file) }),
        Run::Wasm(WasmSource::Bytes(_)) | Run::Function => Value::Null,
        Run::Bundle(bundle) => json!({ "bundle": path(bundle) }),
        Run::Image {
            reference,
            command,
            files,
        } => json!({ "image": reference, "command": command, "files": files }),
        Run::Command(command) => json!({ "command": command }),
    }
}

pub(crate) fn spec(spec: &ToolSpec) -> Value {
    let limits = &spec.limits;
    let grants = &spec.grants;
    json!({
        "name": spec.name.as_str(),
        "version": spec.version.as_deref(),
        "description": spec.description,
        "requires": spec.requires.as_str(),
        "runs": spec.run.form().to_string(),
        "run": run(&spec.run),
        "directory": spec.directory.as_ref().map(path),
        "output": spec.output.as_str(),
        "schema": { "input": spec.schemas.input, "output": spec.schemas.output },
        "limits": {
            "wall": limits.wall.map(|d| humantime::format_duration(d).to_string()),
            "cpu": limits.cpu.map(|cpu| cpu.cores()),
            "memory": limits.memory.map(|size| size.to_string()),
            "pids": limits.pids,
            "files": limits.files,
            "disk": limits.disk.map(|size| size.to_string()),
            "output": limits.output.map(|size| size.to_string()),
            "fuel": limits.fuel,
        },
        "grants": {
            "network": grants.network.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "env": grants.env.iter().map(|env| env.name.clone()).collect::<Vec<_>>(),
            "secrets": grants.secrets,
            "mounts": grants.mounts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
        "min_tier": spec.min_tier.map(|tier| tier.as_str()),
    })
}
