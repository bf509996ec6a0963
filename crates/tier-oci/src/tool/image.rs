//! OCI images from the store, pulled first where the operator trusts the reference.

use std::path::PathBuf;
use std::sync::Arc;

use axo_image::{ImageError, PullOptions, Reference, Silent, Store};

use super::{Tool, root, users};
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
    #[error("image {image} works in {directory:?}, which is not an absolute path without '..'")]
    Directory { image: String, directory: String },
    #[error(transparent)]
    Root(#[from] root::RootError),
}

impl ImageSource {
    /// Opens the image of `reference`; `command` stands in for its own if it is not empty.
    pub(super) async fn open(
        &self,
        reference: &str,
        command: &[String],
        host: &UserHost,
    ) -> Result<Tool, ImageUseError> {
        let directory = self.store.clone().ok_or(ImageUseError::NoStore)?;
        let found = {
            let reference = reference.to_owned();
            blocking(&reference.clone(), move || {
                let store = Store::open(&directory)?;
                match store.find(&reference) {
                    Ok(image) => Ok((store, Some(image))),
                    Err(ImageError::NotFound { .. }) => Ok((store, None)),
                    Err(e) => Err(e),
                }
            })
            .await?
        };
        let (store, image) = match found {
            (store, Some(image)) => (store, image),
            (store, None) if self.trusts(reference) => {
                let parsed = parse(reference)?;
                let pulled = {
                    let (store, runtime) = (store.clone(), tokio::runtime::Handle::current());
                    blocking(reference, move || {
                        runtime.block_on(store.pull(&parsed, &PullOptions::default(), &Silent))
                    })
                    .await?
                };
                (store, pulled)
            }
            (_, None) => return Err(ImageUseError::NotHere(reference.to_owned())),
        };
        let unpacked = {
            let image = image.clone();
            blocking(reference, move || store.rootfs(&image, &Silent)).await?
        };
        let root =
            root::open_directory(unpacked.path()).map_err(|source| root::RootError::Open {
                path: unpacked.path().display().to_string(),
                source,
            })?;
        root::check(&root, [])?;
        let config = &image.config;
        let args: Vec<String> = if command.is_empty() {
            config
                .entrypoint
                .iter()
                .chain(&config.cmd)
                .cloned()
                .collect()
        } else {
            command.to_vec()
        };
        if args.is_empty() {
            return Err(ImageUseError::NoCommand(reference.to_owned()));
        }
        let working = config.working_dir.clone().unwrap_or_else(|| "/".to_owned());
        let plain = working.starts_with('/') && !working.split('/').any(|part| part == "..");
        if !plain || working.contains('\0') {
            return Err(ImageUseError::Directory {
                image: reference.to_owned(),
                directory: working,
            });
        }
        let user = match config.user.as_deref().filter(|user| !user.is_empty()) {
            None => host.default_user(),
            Some(asked) => {
                let unknown = || ImageUseError::User {
                    image: reference.to_owned(),
                    user: asked.to_owned(),
                };
                match users::resolve(&root, asked).ok_or_else(unknown)? {
                    // As for bundles: the root of a container is no unprivileged user.
                    (0, _) => host.default_user(),
                    known if host.has(known) => known,
                    // A user with a single id has no other to give.
                    _ if host.default_user() == (0, 0) => (0, 0),
                    _ => return Err(unknown()),
                }
            }
        };
        Ok(Tool {
            root,
            identity: image.digest.clone(),
            digest: Arc::from(image.digest.as_str()),
            args,
            env: config.env.clone(),
            directory: working,
            user,
            files: None,
            _lease: Some(unpacked),
        })
    }

    fn trusts(&self, reference: &str) -> bool {
        self.trusted
            .iter()
            .any(|pattern| axo_core::pattern::matches(pattern, reference))
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
