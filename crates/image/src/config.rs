//! Image configurations.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::bounds::{MAX_CONFIG_BYTES, MAX_LAYERS};
use crate::error::misread;
use crate::{Digest, ImageError, Platform};

/// What an image says about how to run it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageConfig {
    /// Architecture, by Go's name.
    pub architecture: String,
    /// Operating system, by Go's name.
    pub os: String,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
    /// What [`ImageConfig::cmd`] are the arguments of; may be empty.
    pub entrypoint: Vec<String>,
    /// The default command; may be empty.
    pub cmd: Vec<String>,
    /// Working directory, where one is given.
    pub working_dir: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`, where one is given.
    pub user: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// When it was built, RFC 3339, as the image says.
    pub created: Option<String>,
    /// Digests of the layers unpacked, the lowest first.
    pub diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct RawImage {
    architecture: String,
    os: String,
    created: Option<String>,
    config: Option<RawConfig>,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
struct RawRootfs {
    diff_ids: Option<Vec<String>>,
}

// Docker writes null for what is empty.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

/// Reads an image configuration. For hostile bytes.
///
/// # Errors
/// It is too long, or none.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfig, ImageError> {
    let bad = |problem: &str, source: Option<crate::BoxError>| ImageError::Malformed {
        what: "image configuration".to_owned(),
        problem: problem.to_owned(),
        fix: "name a container image, or have it built anew".to_owned(),
        source,
    };
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        return Err(bad("it is longer than 4 MiB", None));
    }
    let raw: RawImage = serde_json::from_slice(bytes)
        .map_err(|error| bad("it is not one of a container image", Some(misread(&error))))?;
    let diff_ids = raw.rootfs.diff_ids.unwrap_or_default();
    if diff_ids.len() > MAX_LAYERS {
        return Err(bad("it has too many layers", None));
    }
    let config = raw.config.unwrap_or_default();
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(ImageConfig {
        architecture: raw.architecture,
        os: raw.os,
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        cmd: config.cmd.unwrap_or_default(),
        working_dir: given(config.working_dir),
        user: given(config.user),
        labels: config.labels.unwrap_or_default(),
        created: given(raw.created),
        diff_ids: diff_ids
            .into_iter()
            .map(|text| Digest::parse(&text))
            .collect::<Result<_, _>>()
            .map_err(|error| bad("a diff_id is no digest", Some(error.into())))?,
    })
}

impl ImageConfig {
    /// Refuses an image for other machines, and one whose layers cannot all be checked.
    pub(crate) fn check(
        &self,
        image: &str,
        wanted: &Platform,
        layers: usize,
    ) -> Result<(), ImageError> {
        let platform = Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
        };
        if platform != *wanted {
            return Err(ImageError::Platform {
                image: image.to_owned(),
                wanted: wanted.to_string(),
                available: platform.to_string(),
            });
        }
        if self.diff_ids.len() != layers {
            let problem = format!("{} diff_ids for {layers} layers", self.diff_ids.len());
            return Err(ImageError::malformed(
                &format!("configuration of {image}"),
                &problem,
                "have the image built anew",
            ));
        }
        Ok(())
    }
}

/// The configuration of an image that came without one: a bare file system.
pub(crate) fn generated(diff_id: &Digest) -> Vec<u8> {
    let platform = Platform::host();
    serde_json::json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [diff_id.as_str()] },
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody takes a file of theirs for an image.
    #[test]
    fn what_is_no_configuration_is_not_repeated() {
        for text in [
            "secret",
            r#""a secret""#,
            r#"{"architecture": {"secret": 1}}"#,
            r#"{"config": "a secret"}"#,
            r#"{"rootfs": {"diff_ids": "secret"}}"#,
        ] {
            let error = parse_config(text.as_bytes()).unwrap_err();
            let why = std::error::Error::source(&error).unwrap().to_string();
            assert!(!why.contains("secret"), "{why}");
            assert!(why.contains("line 1, column"), "{why}");
        }
    }

    #[test]
    fn nulls_are_nothing() {
        let config = parse_config(
            br#"{"architecture":"amd64","os":"linux","created":"","config":
                {"Env":null,"Cmd":["sh"],"Labels":null,"Entrypoint":null,"WorkingDir":"","User":""},
                "rootfs":{"type":"layers","diff_ids":null},"history":null}"#,
        )
        .unwrap();
        assert_eq!(config.cmd, ["sh"]);
        assert_eq!((config.working_dir, config.user), (None, None));
        assert!(
            parse_config(br#"{"architecture":"amd64","os":"linux","config":null,"rootfs":{}}"#)
                .is_ok()
        );
    }

    #[test]
    fn other_documents_are_refused() {
        for text in [
            "",
            "{}",
            r#"{"mediaType":"x","name":"chart"}"#,
            r#"{"rootfs":{"diff_ids":["../.."]}}"#,
        ] {
            assert!(parse_config(text.as_bytes()).is_err(), "{text}");
        }
    }
}
