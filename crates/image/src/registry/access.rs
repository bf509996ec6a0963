//! With which credentials.

use std::path::PathBuf;

use oci_client::secrets::RegistryAuth;

use super::auth_file::{self, Found};
use super::options::Auth;
use crate::{ImageError, Reference};

/// Credentials, and where they are from.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) auth: RegistryAuth,
    helper: Option<PathBuf>,
}

impl Access {
    /// Reads files.
    pub(super) fn of(auth: &Auth, reference: &Reference) -> Result<Self, ImageError> {
        let plain = |auth| Self { auth, helper: None };
        Ok(match auth {
            Auth::Anonymous => plain(RegistryAuth::Anonymous),
            Auth::Basic { username, password } => {
                plain(RegistryAuth::Basic(username.clone(), password.clone()))
            }
            Auth::Files => {
                let names = [reference.registry(), reference.resolve_registry()];
                match auth_file::look(&names, reference.repository())? {
                    Found::Basic(user, password) => plain(RegistryAuth::Basic(user, password)),
                    Found::Nothing => plain(RegistryAuth::Anonymous),
                    Found::Helper(path) => Self {
                        auth: RegistryAuth::Anonymous,
                        helper: Some(path),
                    },
                }
            }
        })
    }

    /// The registry refused them.
    pub(super) fn refused(&self, reference: &Reference) -> ImageError {
        let (credentials, fix) = match (&self.auth, &self.helper) {
            (RegistryAuth::Basic(user, _), _) => (
                format!("to user {user:?}"),
                "check the user name, the password, and what that user may read".to_owned(),
            ),
            (RegistryAuth::Bearer(_), _) => (
                "with this token".to_owned(),
                "get a new one".to_owned(),
            ),
            (RegistryAuth::Anonymous, Some(path)) => (
                "without credentials".to_owned(),
                format!(
                    "{} names only a credential helper, and those are not run: log in such that the file has the credentials, or give a user name and a password",
                    path.display()
                ),
            ),
            (RegistryAuth::Anonymous, None) => (
                "without credentials".to_owned(),
                "log in (`podman login` or `docker login`), or give a user name and a password; an image that does not exist may be refused as well".to_owned(),
            ),
        };
        ImageError::Unauthorized {
            registry: reference.registry().to_owned(),
            image: reference.to_string(),
            credentials,
            fix,
        }
    }
}
