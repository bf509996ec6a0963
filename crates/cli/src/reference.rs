//! What the user names on the command line, as a tool.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use axocoatl_isolation::{
    EngineBuilder, FindError, NameError, Requirement, Run, ToolName, ToolSpec, WasmSource,
};

/// Name of the manifest in a tool's directory.
pub(crate) const MANIFEST: &str = "tool.toml";

/// A tool as the user names it.
pub(crate) enum ToolReference {
    /// By name, looked up in the registry.
    Name(ToolName),
    /// By its directory.
    Directory(PathBuf),
    /// What has no manifest and asks for nothing: a program, a bare bundle, an image.
    AdHoc(Box<ToolSpec>),
}

/// Why a text names no tool.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReferenceError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{0} does not exist")]
    Missing(PathBuf),
}

impl ToolReference {
    /// A text with a slash, or with the ending of a program, is a path; any other is a name. So no
    /// file of the working directory can pass for a tool of the user.
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let path = Path::new(text);
        let is_program = path.extension().is_some_and(|e| e == "wasm" || e == "wat");
        if !text.contains('/') && !is_program && text != "." && text != ".." {
            return Ok(Self::Name(ToolName::parse(text)?));
        }
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() && is_bare_bundle(path) => {
                let missing = |_| ReferenceError::Missing(path.to_owned());
                // Links on the way to the bundle are followed now; the tier follows none.
                let path = path.canonicalize().map_err(missing)?;
                Ok(Self::ad_hoc(bundle_spec(path)))
            }
            Ok(metadata) if metadata.is_dir() => Ok(Self::Directory(path.to_owned())),
            Ok(_) => Ok(Self::ad_hoc(program_spec(path))),
            Err(_) => Err(ReferenceError::Missing(path.to_owned())),
        }
    }

    /// An image with a command; an empty one is the image's own.
    pub(crate) fn image(reference: String, command: Vec<String>) -> Self {
        let name = name_like(name_of_image(&reference), "image");
        let run = Run::Image {
            reference,
            command,
            files: None,
        };
        Self::ad_hoc(ToolSpec::new(name, Requirement::ContainerImage, run))
    }

    fn ad_hoc(spec: ToolSpec) -> Self {
        Self::AdHoc(Box::new(spec))
    }

    /// Makes the tool known to the engine, and tells its name.
    pub(crate) fn add_to(
        self,
        builder: EngineBuilder,
    ) -> Result<(EngineBuilder, ToolName), FindError> {
        match self {
            Self::Name(name) => Ok((builder, name)),
            // Only this tool is known then, so it cannot clash with one of its name elsewhere.
            Self::Directory(path) => builder.tool_roots(Vec::new()).tool_directory(&path),
            Self::AdHoc(spec) => {
                let name = spec.name.clone();
                Ok((builder.tool_roots(Vec::new()).tool(*spec), name))
            }
        }
    }
}

/// Whether `directory` has no manifest, but what a bundle has. One of the two is enough: that the
/// other is missing is then said as the bundle's fault.
pub(crate) fn is_bare_bundle(directory: &Path) -> bool {
    let absent = |name: &str| {
        let found = directory.join(name).symlink_metadata();
        found.is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    };
    absent(MANIFEST) && !(absent("config.json") && absent("rootfs"))
}

/// A bare program as a tool, named after its file.
fn program_spec(path: &Path) -> ToolSpec {
    let name = name_like(&text(path.file_stem()), "tool");
    let program = WasmSource::File(path.to_owned());
    ToolSpec::new(name, Requirement::Wasm, Run::Wasm(program))
}

/// A bare bundle as a tool, named after its directory.
fn bundle_spec(path: PathBuf) -> ToolSpec {
    let name = name_like(&text(path.file_name()), "bundle");
    ToolSpec::new(name, Requirement::ContainerImage, Run::Bundle(path))
}

fn text(name: Option<&OsStr>) -> String {
    name.unwrap_or_default().to_string_lossy().into_owned()
}

/// The last part of an image's name, without tag and digest.
fn name_of_image(reference: &str) -> &str {
    let named = reference.split('@').next().unwrap_or_default();
    let last = named.rsplit('/').next().unwrap_or_default();
    // A digest alone is no name.
    match last.split_once(':') {
        Some(("sha256", _)) => "",
        Some((name, _)) => name,
        None => last,
    }
}

/// A name of a tool that is as much like `text` as one can be; `otherwise` if nothing is left.
fn name_like(text: &str, otherwise: &str) -> ToolName {
    /// As long as names may be.
    const MAX: usize = 63;
    let plain: String = text
        .to_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .skip_while(|c| matches!(c, '-' | '_'))
        .take(MAX)
        .collect();
    let name = ToolName::parse(&plain).or_else(|_| ToolName::parse(otherwise));
    #[expect(clippy::expect_used, reason = "the callers' words are names")]
    name.expect("a name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ad_hoc_tools_are_named_after_what_runs() {
        for (reference, name) in [
            ("alpine", "alpine"),
            ("registry.example:5000/team/My.Tool:1.2", "my-tool"),
            ("registry.example:5000/tool", "tool"),
            ("tools/x@sha256:0123", "x"),
            ("tools/x:1@sha256:0123", "x"),
            ("sha256:0123456789abcdef", "image"),
            ("0123456789ab", "0123456789ab"),
            ("", "image"),
            ("///", "image"),
            ("__é", "image"),
        ] {
            let ToolReference::AdHoc(spec) = ToolReference::image(reference.into(), Vec::new())
            else {
                panic!("{reference}");
            };
            assert_eq!(spec.name.as_str(), name, "{reference}");
        }
        assert_eq!(
            program_spec(Path::new("a/My tool.wasm")).name.as_str(),
            "my-tool"
        );
        assert_eq!(bundle_spec("/".into()).name.as_str(), "bundle");
        assert_eq!(name_like(&"a".repeat(100), "x").as_str().len(), 63);
    }
}
