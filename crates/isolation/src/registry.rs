//! Where tools are found: the project's, the user's and the system's directory, and those that the
//! embedding program or the policy gives. The only lookup there is.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axo_core::{LocatedError, MANIFEST_FILE, ToolName, ToolSpec};

use crate::plain_file;
use crate::schema::SchemaError;
use crate::tool::Tool;

/// Largest manifest, in bytes.
const MAX_MANIFEST_BYTES: usize = 1 << 20;

/// A directory of tools: tool NAME lies in `NAME/`, with its manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToolRoot {
    /// Whose it is: `project`, `user` or `system`.
    pub label: &'static str,
    /// The directory; it need not exist.
    pub path: PathBuf,
}

/// Finds tools. A tool is read when it is first asked for, and then stays as it was read for the
/// registry's life: what was checked is what runs.
#[derive(Debug, Default)]
pub struct Registry {
    roots: Vec<ToolRoot>,
    /// Functions, commands, and tools given by their directory.
    given: HashMap<ToolName, Arc<Tool>>,
    found: RwLock<HashMap<ToolName, Arc<Tool>>>,
}

/// One tool in a listing, or why it cannot be used.
#[derive(Debug)]
pub struct Listing {
    /// Its name, as its directory has it.
    pub name: String,
    /// Where it comes from: a root's label, or `given`.
    pub origin: &'static str,
    /// Its directory, if it has one.
    pub directory: Option<PathBuf>,
    /// The tool.
    pub tool: Result<Arc<Tool>, FindError>,
}

/// Why a tool is not found, or not usable.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is none of this name.
    #[error(
        "there is no tool {name}; looked in {}; add one with `axocoatl tool add DIR`",
        show(searched)
    )]
    NotFound {
        /// The name.
        name: ToolName,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// There are several of this name.
    #[error(
        "tool {name} exists more than once: {}; remove or rename all but one",
        show(places)
    )]
    Duplicate {
        /// The name.
        name: ToolName,
        /// Where they are.
        places: Vec<PathBuf>,
    },
    /// Its directory or manifest cannot be read.
    #[error("reading {path}; check that it exists and may be read")]
    Unreadable {
        /// What cannot be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its manifest is bad.
    #[error(transparent)]
    Manifest(#[from] LocatedError),
    /// Its directory has another name than it has.
    #[error(
        "the tool in {directory} calls itself {name}: in a tool directory both names must agree; rename one"
    )]
    NameDiffers {
        /// The directory.
        directory: PathBuf,
        /// The name in its manifest.
        name: ToolName,
    },
    /// One of its schemas is bad.
    #[error("tool {name} has a bad schema")]
    Schema {
        /// The tool.
        name: ToolName,
        /// What is wrong.
        source: SchemaError,
    },
}

fn show(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}

impl Registry {
    pub(crate) fn new(roots: Vec<ToolRoot>) -> Self {
        Self {
            roots,
            ..Self::default()
        }
    }

    /// Gives a tool that lies in none of the roots. Two of one name are an error.
    pub(crate) fn give(&mut self, spec: ToolSpec) -> Result<(), FindError> {
        let tool = load(spec)?;
        let name = tool.spec().name.clone();
        let place = |tool: &Tool| place_of(tool.spec());
        if let Some(first) = self.given.get(&name) {
            let places = vec![place(first), place(&tool)];
            return Err(FindError::Duplicate { name, places });
        }
        self.given.insert(name, Arc::new(tool));
        Ok(())
    }

    /// The tool of this name.
    ///
    /// # Errors
    /// [`FindError`] if there is none, more than one, or it cannot be used.
    pub fn find(&self, name: &ToolName) -> Result<Arc<Tool>, FindError> {
        let known = self
            .found
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned();
        if let Some(tool) = known {
            return Ok(tool);
        }
        let tool = self.search(name)?;
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        // Whoever came first is kept, so that all callers share one tool.
        Ok(Arc::clone(found.entry(name.clone()).or_insert(tool)))
    }

    fn search(&self, name: &ToolName) -> Result<Arc<Tool>, FindError> {
        let given = self.given.get(name);
        let mut places: Vec<_> = given.iter().map(|tool| place_of(tool.spec())).collect();
        let mut directory = None;
        for root in &self.roots {
            let candidate = root.path.join(name.as_str());
            if has_manifest(&candidate)? {
                places.push(candidate.clone());
                directory = Some(candidate);
            }
        }
        match (places.len(), given, directory) {
            (1, Some(tool), _) => Ok(Arc::clone(tool)),
            (1, None, Some(directory)) => read_named(&directory, name).map(Arc::new),
            (0, ..) => {
                let searched = self.roots.iter().map(|root| root.path.clone()).collect();
                Err(FindError::NotFound {
                    name: name.clone(),
                    searched,
                })
            }
            _ => Err(FindError::Duplicate {
                name: name.clone(),
                places,
            }),
        }
    }

    /// Every tool there is, by name; those that cannot be used too, with the reason.
    ///
    /// # Errors
    /// [`FindError::Unreadable`] if a root exists and cannot be listed.
    pub fn list(&self) -> Result<Vec<Listing>, FindError> {
        let mut listings: Vec<_> = self
            .given
            .iter()
            .map(|(name, tool)| Listing {
                name: name.to_string(),
                origin: "given",
                directory: tool.spec().directory.clone(),
                tool: self.find(name),
            })
            .collect();
        for root in &self.roots {
            for directory in tool_directories(&root.path)? {
                let name = directory
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let tool = match ToolName::parse(&name) {
                    Ok(name) => self.find(&name),
                    Err(_) => read_tool(&directory).and_then(|tool| {
                        Err(FindError::NameDiffers {
                            directory: directory.clone(),
                            name: tool.spec().name.clone(),
                        })
                    }),
                };
                listings.push(Listing {
                    name,
                    origin: root.label,
                    directory: Some(directory),
                    tool,
                });
            }
        }
        listings.sort_by(|a, b| (&a.name, a.origin).cmp(&(&b.name, b.origin)));
        Ok(listings)
    }
}

/// Reads the tool in `directory`, whatever the directory's name.
pub(crate) fn read_spec(directory: &Path) -> Result<ToolSpec, FindError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| FindError::Unreadable { path, source }
    };
    // Links on the way to the tool are followed now; none is followed to its mounts later.
    let directory = directory.canonicalize().map_err(unreadable(directory))?;
    let path = directory.join(MANIFEST_FILE);
    let text = plain_file::read_text(&path, MAX_MANIFEST_BYTES).map_err(unreadable(&path))?;
    Ok(ToolSpec::from_manifest(&text, &directory)?)
}

fn read_tool(directory: &Path) -> Result<Tool, FindError> {
    load(read_spec(directory)?)
}

fn read_named(directory: &Path, name: &ToolName) -> Result<Tool, FindError> {
    let spec = read_spec(directory)?;
    if spec.name != *name {
        return Err(FindError::NameDiffers {
            directory: directory.to_owned(),
            name: spec.name,
        });
    }
    load(spec)
}

fn load(spec: ToolSpec) -> Result<Tool, FindError> {
    let name = spec.name.clone();
    Tool::load(spec).map_err(|source| FindError::Schema { name, source })
}

fn place_of(spec: &ToolSpec) -> PathBuf {
    spec.directory
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("({})", spec.run.form())))
}

/// Whether `directory` has a manifest. What cannot be looked into is an error, not an absence:
/// a tool that hides there could be the one meant.
fn has_manifest(directory: &Path) -> Result<bool, FindError> {
    let path = directory.join(MANIFEST_FILE);
    match std::fs::metadata(&path) {
        Ok(_) => Ok(true),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(source) => Err(FindError::Unreadable { path, source }),
    }
}

fn tool_directories(root: &Path) -> Result<Vec<PathBuf>, FindError> {
    let unreadable = |source| FindError::Unreadable {
        path: root.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(unreadable(source)),
    };
    let mut directories = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        // `tool add` has its workplace beneath a name that no tool can have.
        if path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        {
            continue;
        }
        // What cannot be looked into is listed too, with the reason.
        if has_manifest(&path).unwrap_or(true) {
            directories.push(path);
        }
    }
    Ok(directories)
}

#[cfg(test)]
mod tests;
