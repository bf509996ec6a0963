//! OCI images from the store, pulled first where the operator trusts the reference.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use axo_image::{Image, ImageError, PullOptions, Reference, Silent, Store};

use super::lookup::Places;
use super::{
    Blame, MAX_COMMAND_BYTES, MAX_PATH_BYTES, Tool, ToolError, command_bytes, program, root, users,
};
use crate::host::UserHost;

/// Where images come from.
pub(crate) struct ImageSource {
    /// The store's directory; without one no image runs.
    pub(crate) store: Option<PathBuf>,
    /// Patterns of references that may be pulled when a call needs them.
    pub(crate) trusted: Vec<String>,
}

/// Why an image cannot be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageUseError {
    #[error("there is no image store")]
    NoStore,
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(
        "image {0} is not in the store, and no pattern of trusted_images in the policy covers it"
    )]
    NotHere(String),
    #[error("unpacking image {0} was given up")]
    GivenUp(String),
    #[error("image {image} runs as user {user:?}, whom it does not know or this host cannot give")]
    User { image: String, user: String },
    #[error("image {0} says no command, and neither does the tool")]
    NoCommand(String),
    #[error(
        "image {image} works in {directory:?}, which is not an absolute path without '..', of less than {MAX_PATH_BYTES} bytes"
    )]
    Directory { image: String, directory: String },
    #[error(
        "image {image} and its tool have arguments and variables of {bytes} bytes, and {MAX_COMMAND_BYTES} bytes is the most"
    )]
    CommandTooLong { image: String, bytes: usize },
}

impl ImageUseError {
    pub(super) fn blame(&self) -> Blame {
        match self {
            Self::NotHere(reference) => Blame::Absence(format!("image {reference}")),
            Self::Image(ImageError::NoSuchImage { image, .. }) => {
                Blame::Absence(format!("image {image}"))
            }
            Self::Image(error) if is_of_content(error) => Blame::Tool,
            Self::Image(_) | Self::NoStore | Self::GivenUp(_) => Blame::Host,
            _ => Blame::Tool,
        }
    }

    /// What would help. The store's own errors say it themselves.
    pub(super) fn fix(&self) -> String {
        match self {
            Self::NotHere(reference) => format!(
                "`axocoatl image pull {reference}`, or `axocoatl image import` it, or let calls pull it \
                 with a pattern in trusted_images of the policy"
            ),
            Self::Image(ImageError::NoSuchImage { registry, .. }) => {
                format!("check its name and tag: registry {registry} has none of that name")
            }
            Self::Image(error) if is_of_content(error) => {
                "name another image, or build this one anew".into()
            }
            Self::Image(_) => "mend what is named, then call it again".into(),
            Self::NoStore => "use an engine that has an image store".into(),
            Self::GivenUp(_) => "try again".into(),
            Self::User { .. } => "build the image with a user that it knows, below 65536".into(),
            Self::NoCommand(_) => "give a command, in its tool.toml or after `--`".into(),
            Self::Directory { .. } => "build the image with another working directory".into(),
            Self::CommandTooLong { .. } => "shorten them; a document goes into the input".into(),
        }
    }
}

/// Whether an image itself is at fault, or its name, and neither the host nor a registry.
fn is_of_content(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::Ambiguous { .. }
            | ImageError::BadReference { .. }
            | ImageError::Platform { .. }
            | ImageError::Digest { .. }
            | ImageError::Size { .. }
            | ImageError::Malformed { .. }
            | ImageError::Entry { .. }
            | ImageError::MountPoint { .. }
            | ImageError::TooLarge { .. }
    )
}

/// An image of the store.
pub(super) struct Obtained {
    reference: String,
    store: Store,
    image: Image,
}

impl ImageSource {
    /// The image of `reference`, from the store, or into it where the operator trusts the reference.
    pub(super) async fn obtain(&self, reference: &str) -> Result<Obtained, ImageUseError> {
        let directory = self.store.clone().ok_or(ImageUseError::NoStore)?;
        let wanted = reference.to_owned();
        let (store, found) = blocking(reference, move || {
            let store = Store::open(&directory)?;
            match store.find(&wanted) {
                Ok(image) => Ok((store, Some(image))),
                Err(ImageError::NotFound { .. }) => Ok((store, None)),
                Err(e) => Err(e),
            }
        })
        .await?;
        let image = match found {
            Some(image) => image,
            None if self.trusts(reference) => {
                let parsed = parse(reference)?;
                let (store, runtime) = (store.clone(), tokio::runtime::Handle::current());
                blocking(reference, move || {
                    runtime.block_on(store.pull(&parsed, &PullOptions::default(), &Silent))
                })
                .await?
            }
            None => return Err(ImageUseError::NotHere(reference.to_owned())),
        };
        Ok(Obtained {
            reference: reference.to_owned(),
            store,
            image,
        })
    }

    fn trusts(&self, reference: &str) -> bool {
        self.trusted
            .iter()
            .any(|pattern| axo_core::pattern::matches(pattern, reference))
    }
}

impl Obtained {
    /// Unpacks the image and opens it. `command` stands in for its own if it is not empty. Blocks.
    pub(super) fn open(
        self,
        command: &[String],
        files: Option<OwnedFd>,
        users: &UserHost,
    ) -> Result<Tool, ToolError> {
        let unpacked = self.store.rootfs(&self.image, &Silent);
        let unpacked = unpacked.map_err(ImageUseError::Image)?;
        let root =
            root::open_directory(unpacked.path()).map_err(|source| root::RootError::Open {
                path: unpacked.path().display().to_string(),
                source,
            })?;
        root::check(&root, [])?;
        let args = self.command(command)?;
        let env = &self.image.config.env;
        let directory = self.directory()?;
        let user = self.user(&root, users)?;
        // Only now: the program may be among the tool's files.
        let (program, _) = program::check(&program::Command {
            args: &args,
            env,
            directory: &directory,
            places: Places {
                root: &root,
                files: files.as_ref(),
            },
        })?;
        Ok(Tool {
            identity: match &files {
                Some(files) => format!("{} {}", self.image.digest, root::identity(files)),
                None => self.image.digest.clone(),
            },
            digest: Arc::from(self.image.digest.as_str()),
            program,
            env: env.clone(),
            args,
            directory,
            user,
            root,
            files,
            lease: Some(unpacked),
        })
    }

    fn command(&self, given: &[String]) -> Result<Vec<String>, ImageUseError> {
        let config = &self.image.config;
        let args: Vec<String> = match given {
            [] => config
                .entrypoint
                .iter()
                .chain(&config.cmd)
                .cloned()
                .collect(),
            given => given.to_vec(),
        };
        if args.is_empty() {
            return Err(ImageUseError::NoCommand(self.reference.clone()));
        }
        match command_bytes(&args, &config.env) {
            ..=MAX_COMMAND_BYTES => Ok(args),
            bytes => Err(ImageUseError::CommandTooLong {
                image: self.reference.clone(),
                bytes,
            }),
        }
    }

    fn directory(&self) -> Result<String, ImageUseError> {
        let directory = self.image.config.working_dir.clone();
        let directory = directory.unwrap_or_else(|| "/".to_owned());
        let plain = directory.starts_with('/') && !directory.split('/').any(|part| part == "..");
        if plain && directory.len() < MAX_PATH_BYTES && !directory.contains('\0') {
            return Ok(directory);
        }
        Err(ImageUseError::Directory {
            image: self.reference.clone(),
            directory,
        })
    }

    fn user(&self, root: &OwnedFd, host: &UserHost) -> Result<(u32, u32), ImageUseError> {
        let asked = self.image.config.user.as_deref();
        let Some(asked) = asked.filter(|user| !user.is_empty()) else {
            return Ok(host.default_user());
        };
        let unknown = || ImageUseError::User {
            image: self.reference.clone(),
            user: asked.to_owned(),
        };
        match users::resolve(root, asked).ok_or_else(unknown)? {
            // As for bundles: the root of a container is no unprivileged user.
            (0, _) => Ok(host.default_user()),
            known if host.has(known) => Ok(known),
            // A user with a single id has no other to give.
            _ if host.default_user() == (0, 0) => Ok((0, 0)),
            _ => Err(unknown()),
        }
    }
}

async fn blocking<T: Send + 'static>(
    reference: &str,
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageUseError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ImageUseError::GivenUp(reference.to_owned())),
    }
}

fn parse(reference: &str) -> Result<Reference, ImageError> {
    reference
        .parse::<Reference>()
        .map_err(|source| ImageError::BadReference {
            text: reference.to_owned(),
            source: Some(source.into()),
        })
}
