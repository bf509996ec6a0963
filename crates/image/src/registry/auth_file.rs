//! Credentials that `podman login` and `docker login` left: `auth.json`, `config.json`.
//!
//! <https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md>

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::bounds::MAX_AUTH_FILE_BYTES;
use crate::{ImageError, disk};

/// What the files know about a registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// User name and password.
    Basic(String, String),
    /// A program knows more, and is not run.
    Helper(PathBuf),
    /// Nothing.
    Nothing,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawFile {
    auths: HashMap<String, RawEntry>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawEntry {
    auth: Option<String>,
    identitytoken: Option<String>,
}

/// Looks for `registry` (under any of its names) and `repository`.
pub(super) fn look(registries: &[&str], repository: &str) -> Result<Found, ImageError> {
    let mut helper = None;
    for (path, required) in places() {
        let Some(bytes) = disk::read_bounded(&path, MAX_AUTH_FILE_BYTES)? else {
            if required {
                return Err(bad(
                    &path,
                    "it does not exist",
                    "log in, or unset REGISTRY_AUTH_FILE",
                ));
            }
            continue;
        };
        match parse(&path, &bytes, registries, repository)? {
            Found::Nothing => {}
            Found::Helper(path) => helper = helper.or(Some(path)),
            found @ Found::Basic(..) => return Ok(found),
        }
    }
    Ok(helper.map_or(Found::Nothing, Found::Helper))
}

/// The files, in the order in which they count, and whether one must be there.
fn places() -> Vec<(PathBuf, bool)> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![(file, true)];
    }
    let home = variable("HOME");
    let config = variable("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|h| h.join(".config")));
    let docker = variable("DOCKER_CONFIG").or_else(|| home.map(|h| h.join(".docker")));
    [
        variable("XDG_RUNTIME_DIR").map(|runtime| runtime.join("containers/auth.json")),
        config.map(|config| config.join("containers/auth.json")),
        docker.map(|docker| docker.join("config.json")),
    ]
    .into_iter()
    .flatten()
    .map(|path| (path, false))
    .collect()
}

fn bad(path: &Path, problem: &str, fix: &str) -> ImageError {
    ImageError::AuthFile {
        path: path.to_owned(),
        problem: problem.to_owned(),
        fix: fix.to_owned(),
    }
}

/// Reads one of them.
pub(crate) fn parse(
    path: &Path,
    bytes: &[u8],
    registries: &[&str],
    repository: &str,
) -> Result<Found, ImageError> {
    // What the parser says may quote a password, so it is not passed on.
    let file: RawFile = serde_json::from_slice(bytes)
        .map_err(|_| bad(path, "it is not valid JSON of its kind", "log in anew"))?;
    let entries: HashMap<&str, &RawEntry> = file
        .auths
        .iter()
        .map(|(name, entry)| (plain_key(name), entry))
        .collect();
    for key in keys(registries, repository) {
        let Some(entry) = entries.get(key.as_str()) else {
            continue;
        };
        match (entry.auth.as_deref(), entry.identitytoken.as_deref()) {
            (Some(auth), _) if !auth.is_empty() => return decode(path, auth),
            (_, Some(token)) if !token.is_empty() => {
                return Err(bad(
                    path,
                    &format!("it has only an identity token for {key}, which is not supported"),
                    "log in with a user name and a password or access token",
                ));
            }
            _ => {}
        }
    }
    let helped = file.creds_store.is_some_and(|store| !store.is_empty())
        || registries
            .iter()
            .any(|name| file.cred_helpers.contains_key(*name));
    Ok(if helped {
        Found::Helper(path.to_owned())
    } else {
        Found::Nothing
    })
}

/// From the most particular to the registry: `host/a/b`, `host/a`, `host`.
fn keys(registries: &[&str], repository: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for registry in registries {
        let mut rest = Some(repository);
        while let Some(path) = rest {
            keys.push(format!("{registry}/{path}"));
            rest = path.rsplit_once('/').map(|(above, _)| above);
        }
    }
    keys.extend(registries.iter().map(|registry| (*registry).to_owned()));
    keys
}

/// Older files have URLs: `https://host/v1/`.
fn plain_key(key: &str) -> &str {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1")
        .or_else(|| key.strip_suffix("/v2"))
        .unwrap_or(key)
}

fn decode(path: &Path, auth: &str) -> Result<Found, ImageError> {
    STANDARD
        .decode(auth.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| {
            let (user, password) = text.split_once(':')?;
            let password = password.trim_end_matches('\0');
            Some(Found::Basic(user.to_owned(), password.to_owned()))
        })
        .ok_or_else(|| {
            bad(
                path,
                "an `auth` in it is not base64 of user:password",
                "log in anew",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, registries: &[&str], repository: &str) -> Result<Found, ImageError> {
        parse(
            Path::new("auth.json"),
            text.as_bytes(),
            registries,
            repository,
        )
    }

    fn basic(user: &str) -> Found {
        Found::Basic(user.to_owned(), "p:w".to_owned())
    }

    #[test]
    fn the_most_particular_entry_counts() {
        let auth = |user: &str| STANDARD.encode(format!("{user}:p:w"));
        let file = format!(
            r#"{{"auths":{{"r.example":{{"auth":"{}"}},"r.example/team":{{"auth":"{}"}},
                "https://old.example/v1/":{{"auth":"{}"}}}}}}"#,
            auth("all"),
            auth("team"),
            auth("old")
        );
        assert_eq!(
            found(&file, &["r.example"], "team/x/y").unwrap(),
            basic("team")
        );
        assert_eq!(
            found(&file, &["r.example"], "teams/x").unwrap(),
            basic("all")
        );
        assert_eq!(
            found(&file, &["new.example", "old.example"], "x").unwrap(),
            basic("old")
        );
        assert_eq!(found(&file, &["example"], "x").unwrap(), Found::Nothing);
    }

    #[test]
    fn helpers_are_seen_and_damage_is_told() {
        let helper = Found::Helper("auth.json".into());
        assert_eq!(found(r#"{"credsStore":"x"}"#, &["r"], "i").unwrap(), helper);
        assert_eq!(
            found(r#"{"credHelpers":{"r":"x"}}"#, &["r"], "i").unwrap(),
            helper
        );
        assert_eq!(
            found(r#"{"credHelpers":{"q":"x"}}"#, &["r"], "i").unwrap(),
            Found::Nothing
        );
        for text in [
            "",
            "[",
            r#"{"auths":{"r":{"auth":"%"}}}"#,
            r#"{"auths":{"r":{"identitytoken":"t"}}}"#,
        ] {
            assert!(found(text, &["r"], "i").is_err(), "{text}");
        }
    }
}
