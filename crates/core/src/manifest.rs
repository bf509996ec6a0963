//! `tool.toml`: the manifest beside a tool.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use crate::located::Source;
use crate::spec::Identity;
use crate::{
    EnvGrant, Grants, HostPort, LocatedError, Mount, MountMode, OutputMode, Requirement, Run,
    Schemas, Tier, ToolName, ToolSpec, UnknownWord, WasmSource,
};

pub(crate) mod raw_limits;

use raw_limits::RawLimits;

/// Name of the manifest in a tool's directory.
pub const MANIFEST_FILE: &str = "tool.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    name: Spanned<String>,
    version: Option<Spanned<String>>,
    description: Option<Spanned<String>>,
    requires: Option<Spanned<String>>,
    run: Spanned<RawRun>,
    #[serde(default)]
    schema: RawSchema,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    grants: RawGrants,
    #[serde(default)]
    isolation: RawIsolation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRun {
    wasm: Option<Spanned<String>>,
    bundle: Option<Spanned<String>>,
    image: Option<Spanned<String>>,
    command: Option<Spanned<Vec<String>>>,
    files: Option<Spanned<String>>,
    output: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawSchema {
    input: Option<Spanned<String>>,
    output: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawGrants {
    #[serde(default)]
    network: Vec<Spanned<String>>,
    #[serde(default)]
    env: Vec<Spanned<String>>,
    #[serde(default)]
    secrets: Vec<Spanned<String>>,
    #[serde(default)]
    mounts: Vec<Spanned<RawMount>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMount {
    source: Spanned<String>,
    target: Spanned<String>,
    mode: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawIsolation {
    min_tier: Option<Spanned<String>>,
}

impl ToolSpec {
    /// Reads the manifest `text` of the tool in `directory` (absolute).
    ///
    /// # Errors
    /// [`LocatedError`] names the file, the line, the key and the fix. Nothing else is touched:
    /// whether the files it names exist shows when the tool is prepared.
    pub fn from_manifest(text: &str, directory: &Path) -> Result<Self, LocatedError> {
        let file = directory.join(MANIFEST_FILE).display().to_string();
        let source = Source { file: &file, text };
        let raw: RawManifest = source.parse()?;
        let run = read_run(source, &raw.run, directory)?;
        Ok(Self {
            id: Identity::new(),
            name: at(source, &raw.name, ToolName::parse)?,
            version: one_line(source, raw.version.as_ref())?.map(Arc::from),
            description: one_line(source, raw.description.as_ref())?.map(str::to_owned),
            requires: read_requirement(source, raw.requires.as_ref(), &run)?,
            output: match &raw.run.get_ref().output {
                Some(mode) => at(source, mode, read_output_mode)?,
                None => OutputMode::default(),
            },
            schemas: Schemas {
                input: optional_path(source, raw.schema.input.as_ref(), directory)?,
                output: optional_path(source, raw.schema.output.as_ref(), directory)?,
            },
            limits: raw.limits.check(source)?,
            grants: read_grants(source, &raw.grants)?,
            min_tier: match &raw.isolation.min_tier {
                Some(tier) => Some(at(source, tier, |tier| tier.parse::<Tier>())?),
                None => None,
            },
            run,
            directory: Some(directory.to_owned()),
        })
    }
}

/// Applies `read` to a spanned text; its error is located at the span.
pub(crate) fn at<T, E: std::fmt::Display>(
    source: Source<'_>,
    text: &Spanned<String>,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, LocatedError> {
    read(text.get_ref()).map_err(|e| source.error(&text.span(), e.to_string()))
}

/// Longest version or description, in bytes: both are shown in lists.
const MAX_LINE_BYTES: usize = 1024;

/// A text that is shown in lists: it cannot pretend to be several lines of them.
fn one_line<'a>(
    source: Source<'_>,
    text: Option<&'a Spanned<String>>,
) -> Result<Option<&'a str>, LocatedError> {
    let Some(text) = text else { return Ok(None) };
    let line = text.get_ref();
    if line.len() > MAX_LINE_BYTES || line.contains(|c: char| c.is_control()) {
        let problem = format!(
            "must be one line of at most {MAX_LINE_BYTES} bytes without control characters"
        );
        return Err(source.error(&text.span(), problem));
    }
    Ok(Some(line))
}

fn read_run(
    source: Source<'_>,
    raw: &Spanned<RawRun>,
    directory: &Path,
) -> Result<Run, LocatedError> {
    let run = raw.get_ref();
    let path = |text: &Spanned<String>| at(source, text, |text| inside(directory, text));
    let only_with_image = |key: &str, span: std::ops::Range<usize>| {
        source.error(
            &span,
            format!("`{key}` goes with `image` only: remove it, or run an image"),
        )
    };
    if run.image.is_none() {
        if let Some(command) = &run.command {
            return Err(only_with_image("command", command.span()));
        }
        if let Some(files) = &run.files {
            return Err(only_with_image("files", files.span()));
        }
    }
    match (&run.wasm, &run.bundle, &run.image) {
        (Some(wasm), None, None) => Ok(Run::Wasm(WasmSource::File(path(wasm)?))),
        (None, Some(bundle), None) => Ok(Run::Bundle(path(bundle)?)),
        (None, None, Some(image)) => Ok(Run::Image {
            reference: image.get_ref().clone(),
            command: run
                .command
                .as_ref()
                .map(|c| c.get_ref().clone())
                .unwrap_or_default(),
            files: run.files.as_ref().map(path).transpose()?,
        }),
        (None, None, None) => Err(source.error(
            &raw.span(),
            "says nothing to run: add exactly one of `wasm = \"tool.wasm\"`, `bundle = \"bundle\"` \
             or `image = \"registry/name@sha256:…\"`",
        )),
        _ => Err(source.error(
            &raw.span(),
            "is ambiguous: keep exactly one of `wasm`, `bundle` and `image`",
        )),
    }
}

/// `text` as a path beneath `directory`; the manifest's author cannot point anywhere else.
fn inside(directory: &Path, text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    let plain = !text.is_empty()
        && !text.contains('\0')
        && path
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    if plain {
        Ok(directory.join(path))
    } else {
        Err(format!(
            "{text:?} leaves the tool's directory: give a relative path without `..`"
        ))
    }
}

fn optional_path(
    source: Source<'_>,
    text: Option<&Spanned<String>>,
    directory: &Path,
) -> Result<Option<PathBuf>, LocatedError> {
    text.map(|text| at(source, text, |text| inside(directory, text)))
        .transpose()
}

fn read_requirement(
    source: Source<'_>,
    text: Option<&Spanned<String>>,
    run: &Run,
) -> Result<Requirement, LocatedError> {
    let Some(text) = text else {
        return Ok(match run {
            Run::Wasm(_) => Requirement::Wasm,
            _ => Requirement::ContainerImage,
        });
    };
    match at(source, text, |word| word.parse())? {
        Requirement::NativeTrusted => Err(source.error(
            &text.span(),
            "a manifest cannot ask for the host itself: the operator names trusted commands in \
             policy.toml under [native.NAME]",
        )),
        requirement => Ok(requirement),
    }
}

fn read_output_mode(word: &str) -> Result<OutputMode, UnknownWord> {
    const PINNED: [OutputMode; 3] = [OutputMode::File, OutputMode::Json, OutputMode::Text];
    PINNED
        .into_iter()
        .find(|mode| mode.as_str() == word)
        .ok_or_else(|| UnknownWord::new("output", word, &PINNED.map(OutputMode::as_str)))
}

fn read_grants(source: Source<'_>, raw: &RawGrants) -> Result<Grants, LocatedError> {
    let variable = |text: &Spanned<String>| {
        at(source, text, |text| match EnvGrant::parse(text) {
            Ok(grant) if grant.value.is_none() => Ok(grant),
            Ok(_) => Err("a manifest names variables; their values are the operator's".to_owned()),
            Err(e) => Err(e.to_string()),
        })
    };
    Ok(Grants {
        network: raw
            .network
            .iter()
            .map(|text| at(source, text, HostPort::parse))
            .collect::<Result<_, _>>()?,
        env: raw.env.iter().map(variable).collect::<Result<_, _>>()?,
        secrets: raw
            .secrets
            .iter()
            .map(|text| {
                at(source, text, |text| {
                    EnvGrant::parse(text).map(|grant| grant.name)
                })
            })
            .collect::<Result<_, _>>()?,
        mounts: raw
            .mounts
            .iter()
            .map(|raw| read_mount(source, raw))
            .collect::<Result<_, _>>()?,
    })
}

fn read_mount(source: Source<'_>, raw: &Spanned<RawMount>) -> Result<Mount, LocatedError> {
    let raw = raw.get_ref();
    let mode = match &raw.mode {
        Some(mode) => at(source, mode, MountMode::parse)?,
        None => MountMode::ReadOnly,
    };
    at(source, &raw.target, |target| {
        Mount::new(raw.source.get_ref(), target, mode)
    })
}

#[cfg(test)]
mod tests;
