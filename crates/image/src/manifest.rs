//! Manifests and indexes, OCI's and Docker's (schema 2), which differ in their media types only.

use serde::Deserialize;

use crate::bounds::{MAX_CONFIG_BYTES, MAX_LAYERS, MAX_MANIFEST_BYTES};
use crate::error::misread;
use crate::{Digest, ImageError, Platform};

/// What manifests are asked for as.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// A reference to bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// Their digest.
    pub digest: Digest,
    /// Their length.
    pub size: u64,
    /// What they are, as announced. Nothing relies on it.
    pub media_type: String,
}

/// A manifest, or an index that leads to several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Manifest {
    /// Of one image.
    Image {
        /// Its configuration.
        config: Descriptor,
        /// Its layers, the lowest first.
        layers: Vec<Descriptor>,
    },
    /// Of several, by platform; `None` where an entry names no platform.
    Index(Vec<(Descriptor, Option<Platform>)>),
}

#[derive(Deserialize)]
struct RawManifest {
    #[serde(rename = "schemaVersion")]
    schema_version: Option<u32>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
}

#[derive(Deserialize)]
struct RawDescriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    os: String,
    architecture: String,
}

impl RawDescriptor {
    fn check(self) -> Result<(Descriptor, Option<Platform>), ImageError> {
        let digest = Digest::parse(&self.digest).map_err(|error| bad(BAD, Some(error.into())))?;
        let platform = self.platform.map(|raw| Platform {
            os: raw.os,
            architecture: raw.architecture,
        });
        let descriptor = Descriptor {
            digest,
            size: self.size,
            media_type: self.media_type,
        };
        Ok((descriptor, platform))
    }
}

const BAD: &str = "it is not a manifest of an OCI or Docker (schema 2) image";

fn bad(problem: &str, source: Option<crate::BoxError>) -> ImageError {
    ImageError::Malformed {
        what: "manifest".to_owned(),
        problem: problem.to_owned(),
        fix: "name an image, or have it built anew".to_owned(),
        source,
    }
}

/// Reads a manifest or an index. For hostile bytes.
///
/// # Errors
/// It is too long, no manifest, or one of something else than an image.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, ImageError> {
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(ImageError::TooLarge {
            what: "the manifest".to_owned(),
            limit: MAX_MANIFEST_BYTES,
            unit: "bytes",
            fix: "name an image with a smaller one".to_owned(),
        });
    }
    let raw: RawManifest =
        serde_json::from_slice(bytes).map_err(|error| bad(BAD, Some(misread(&error))))?;
    if raw.schema_version != Some(2) {
        return Err(bad("its schemaVersion is not 2", None));
    }
    match (raw.config, raw.layers, raw.manifests) {
        (Some(config), Some(layers), None) => image(config, layers),
        (None, None, Some(manifests)) => Ok(Manifest::Index(
            manifests
                .into_iter()
                .map(RawDescriptor::check)
                .collect::<Result<_, _>>()?,
        )),
        _ => Err(bad(BAD, None)),
    }
}

fn image(config: RawDescriptor, layers: Vec<RawDescriptor>) -> Result<Manifest, ImageError> {
    if layers.len() > MAX_LAYERS {
        return Err(ImageError::TooLarge {
            what: "the image".to_owned(),
            limit: MAX_LAYERS as u64,
            unit: "layers",
            fix: "squash its layers".to_owned(),
        });
    }
    if layers.is_empty() {
        return Err(bad("it has no layer", None));
    }
    if config.size > MAX_CONFIG_BYTES {
        return Err(ImageError::TooLarge {
            what: "the configuration of the image".to_owned(),
            limit: MAX_CONFIG_BYTES,
            unit: "bytes",
            fix: "have it built anew, with less history and fewer labels".to_owned(),
        });
    }
    let layers: Vec<Descriptor> = layers
        .into_iter()
        .map(|raw| raw.check().map(|(descriptor, _)| descriptor))
        .collect::<Result<_, _>>()?;
    if let Some(sealed) = layers.iter().find(|l| l.media_type.ends_with("+encrypted")) {
        let problem = format!("layer {} is encrypted", sealed.digest);
        return Err(bad(&problem, None));
    }
    Ok(Manifest::Image {
        config: config.check()?.0,
        layers,
    })
}

/// The entry of an index for `wanted`.
pub(crate) fn choose<'a>(
    entries: &'a [(Descriptor, Option<Platform>)],
    wanted: &Platform,
    image: &str,
) -> Result<&'a Descriptor, ImageError> {
    if let [(only, None)] = entries {
        // Its configuration says what it is for, and is checked later.
        return Ok(only);
    }
    entries
        .iter()
        .find(|(_, platform)| platform.as_ref() == Some(wanted))
        .map(|(descriptor, _)| descriptor)
        .ok_or_else(|| {
            let mut names: Vec<String> = entries
                .iter()
                .filter_map(|(_, platform)| platform.as_ref())
                .map(ToString::to_string)
                .collect();
            names.sort();
            names.dedup();
            // An index may list thousands.
            names.truncate(20);
            ImageError::Platform {
                image: image.to_owned(),
                wanted: wanted.to_string(),
                available: if names.is_empty() {
                    "platforms it does not name".to_owned()
                } else {
                    names.join(", ")
                },
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(rest: &str) -> String {
        let digest = Digest::of(b"x");
        format!(r#"{{"mediaType":"m","digest":"{digest}","size":1{rest}}}"#)
    }

    #[test]
    fn reads_both_kinds() {
        let d = descriptor("");
        let text = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d},{d}]}}"#);
        assert!(matches!(
            parse_manifest(text.as_bytes()).unwrap(),
            Manifest::Image { layers, .. } if layers.len() == 2
        ));
        let p = descriptor(r#","platform":{"os":"linux","architecture":"s390x"}"#);
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{p},{d}]}}"#);
        let Manifest::Index(entries) = parse_manifest(text.as_bytes()).unwrap() else {
            panic!("no index");
        };
        let arm = Platform {
            os: "linux".to_owned(),
            architecture: "arm64".to_owned(),
        };
        let error = choose(&entries, &arm, "x").unwrap_err().to_string();
        assert!(
            error.contains("linux/arm64") && error.contains("linux/s390x"),
            "{error}"
        );
    }

    #[test]
    fn refuses_what_is_none() {
        let d = descriptor("");
        let many = vec![d.clone(); MAX_LAYERS + 1].join(",");
        for text in [
            String::new(),
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"schemaVersion":2}"#.to_owned(),
            format!(r#"{{"schemaVersion":1,"config":{d},"layers":[{d}]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{d},"layers":[]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{many}]}}"#),
            format!(r#"{{"schemaVersion":2,"config":{d},"layers":[{d}],"manifests":[]}}"#),
            r#"{"schemaVersion":2,"config":{"digest":"../x","size":1},"layers":[]}"#.to_owned(),
            r#"{"schemaVersion":2,"config":{"digest":"x","size":-1},"layers":[]}"#.to_owned(),
            format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        ] {
            assert!(parse_manifest(text.as_bytes()).is_err(), "{text:.80}");
        }
    }
}
