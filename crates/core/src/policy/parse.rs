//! Reads `policy.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::{GrantRules, HostPattern, MountRule, NativeCommand, Policy, SessionRules};
use crate::located::Source;
use crate::manifest::{at, raw_limits::RawLimits};
use crate::{EnvGrant, Limits, LocatedError, MountMode, Requirement, Tier, ToolName};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    stand_in: Option<bool>,
    #[serde(default)]
    min_tier: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    tools: BTreeMap<Spanned<String>, RawTool>,
    #[serde(default)]
    ceilings: RawLimits,
    #[serde(default)]
    grants: RawGrantRules,
    #[serde(default)]
    trusted_images: Vec<String>,
    #[serde(default)]
    native: BTreeMap<Spanned<String>, RawNative>,
    #[serde(default)]
    sessions: RawSessions,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawSessions {
    network: Option<Spanned<String>>,
    #[serde(default)]
    setup_commands: bool,
    total: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTool {
    min_tier: Spanned<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawGrantRules {
    #[serde(default)]
    network: Vec<Spanned<String>>,
    #[serde(default)]
    env: Vec<Spanned<String>>,
    #[serde(default)]
    secrets: Vec<Spanned<String>>,
    #[serde(default)]
    mounts: Vec<RawMountRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMountRule {
    source: Spanned<String>,
    mode: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNative {
    command: Spanned<Vec<String>>,
    description: Option<String>,
    wall: Option<Spanned<String>>,
    output: Option<Spanned<String>>,
}

impl Policy {
    /// Reads the policy in `text`, which stands in the file named `file`.
    ///
    /// # Errors
    /// [`LocatedError`] names the file, the line, the key and the fix.
    pub fn parse(text: &str, file: &str) -> Result<Self, LocatedError> {
        let source = Source { file, text };
        let raw: RawPolicy = source.parse()?;
        Ok(Self {
            minimum: raw
                .min_tier
                .iter()
                .map(|(requirement, tier)| read_minimum(source, requirement, tier))
                .collect::<Result<_, _>>()?,
            tool_minimum: raw
                .tools
                .iter()
                .map(|(name, tool)| {
                    Ok((
                        at(source, name, ToolName::parse)?,
                        sandboxed(source, &tool.min_tier)?,
                    ))
                })
                .collect::<Result<_, _>>()?,
            ceilings: super::DEFAULT_CEILINGS.overlaid_by(raw.ceilings.check(source)?),
            grants: read_grants(source, &raw.grants)?,
            stand_in: raw.stand_in.unwrap_or(true),
            trusted_images: raw.trusted_images,
            native: raw
                .native
                .iter()
                .map(|(name, native)| {
                    Ok((
                        at(source, name, ToolName::parse)?,
                        read_native(source, native)?,
                    ))
                })
                .collect::<Result<_, _>>()?,
            native_functions: Vec::new(),
            sessions: read_sessions(source, &raw.sessions)?,
        })
    }
}

fn read_sessions(source: Source<'_>, raw: &RawSessions) -> Result<SessionRules, LocatedError> {
    let bridge = |network: &Spanned<String>| match network.as_ref().as_str() {
        "bridge" => Ok(true),
        "none" => Ok(false),
        _ => Err(source.error(&network.span(), "write \"none\" or \"bridge\"")),
    };
    Ok(SessionRules {
        bridge: raw.network.as_ref().map_or(Ok(false), bridge)?,
        setup_commands: raw.setup_commands,
        total: match &raw.total {
            Some(total) => Some(at(source, total, crate::parse_duration)?),
            None => None,
        },
    })
}

fn read_minimum(
    source: Source<'_>,
    requirement: &Spanned<String>,
    tier: &Spanned<String>,
) -> Result<(Requirement, Tier), LocatedError> {
    match at(source, requirement, str::parse)? {
        Requirement::NativeTrusted => Err(source.error(
            &requirement.span(),
            "trusted commands run on the host by definition: name each under [native.NAME] instead",
        )),
        requirement => Ok((requirement, sandboxed(source, tier)?)),
    }
}

fn sandboxed(source: Source<'_>, tier: &Spanned<String>) -> Result<Tier, LocatedError> {
    match at(source, tier, str::parse)? {
        Tier::None => Err(source.error(
            &tier.span(),
            "\"none\" is no isolation: a trusted command goes under [native.NAME]; otherwise write \
             wasm, oci or microvm",
        )),
        tier => Ok(tier),
    }
}

fn read_grants(source: Source<'_>, raw: &RawGrantRules) -> Result<GrantRules, LocatedError> {
    let names = |texts: &[Spanned<String>]| {
        texts
            .iter()
            .map(|text| {
                at(source, text, |text| match EnvGrant::parse(text) {
                    Ok(grant) if grant.value.is_none() => Ok(grant.name),
                    Ok(_) => Err("write the name only".to_owned()),
                    Err(e) => Err(e.to_string()),
                })
            })
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(GrantRules {
        network: raw
            .network
            .iter()
            .map(|text| at(source, text, HostPattern::parse))
            .collect::<Result<_, _>>()?,
        env: names(&raw.env)?,
        secrets: names(&raw.secrets)?,
        mounts: raw
            .mounts
            .iter()
            .map(|rule| {
                Ok(MountRule {
                    source: at(source, &rule.source, absolute)?.into(),
                    mode: match &rule.mode {
                        Some(mode) => at(source, mode, MountMode::parse)?,
                        None => MountMode::ReadOnly,
                    },
                })
            })
            .collect::<Result<_, _>>()?,
    })
}

fn read_native(source: Source<'_>, raw: &RawNative) -> Result<NativeCommand, LocatedError> {
    let command = raw.command.get_ref();
    let program = command.first().map(String::as_str).unwrap_or_default();
    absolute(program).map_err(|e| source.error(&raw.command.span(), e))?;
    Ok(NativeCommand {
        command: command.clone(),
        description: raw.description.clone(),
        limits: Limits {
            wall: raw
                .wall
                .as_ref()
                .map(|t| at(source, t, crate::parse_duration))
                .transpose()?,
            output: raw
                .output
                .as_ref()
                .map(|t| at(source, t, crate::Size::parse))
                .transpose()?,
            ..Limits::default()
        },
    })
}

/// A path that means the same whatever the working directory is, without `..`.
fn absolute(text: &str) -> Result<String, String> {
    let path = Path::new(text);
    let plain = path.is_absolute()
        && !text.contains('\0')
        && path
            .components()
            .all(|c| !matches!(c, std::path::Component::ParentDir));
    if plain {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} must be an absolute path without `..`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn read(text: &str) -> Result<Policy, LocatedError> {
        Policy::parse(text, "policy.toml")
    }

    #[test]
    fn every_key_is_read() {
        let policy = read(
            r#"
stand_in = false
trusted_images = ["registry.example.com/*"]
[min_tier]
python = "oci"
[tools.csv-stats]
min_tier = "microvm"
[ceilings]
memory = "1GiB"
[grants]
network = ["*.example.com:443"]
env = ["TZ"]
mounts = [{ source = "/srv/data", mode = "rw" }]
[native.disk-usage]
command = ["/usr/bin/du", "-s"]
wall = "5s"
[sessions]
network = "bridge"
setup_commands = true
total = "8h"
"#,
        )
        .unwrap();
        assert!(policy.sessions.bridge && policy.sessions.setup_commands);
        assert_eq!(policy.sessions.total, Some(Duration::from_secs(8 * 3600)));
        assert!(!policy.stand_in);
        assert_eq!(policy.minimum[&Requirement::Python], Tier::Oci);
        let name = ToolName::parse("csv-stats").unwrap();
        assert_eq!(
            policy.minimum_for(&name, Requirement::Wasm).0,
            Tier::MicroVm
        );
        assert_eq!(policy.ceilings.memory, Some(crate::Size::from_mib(1024)));
        let covers =
            |host: &str| policy.grants.network[0].covers(&crate::HostPort::parse(host).unwrap());
        assert!(covers("a.example.com:443") && covers("a.b.example.com:443"));
        assert!(
            !covers("example.com:443")
                && !covers("evilexample.com:443")
                && !covers("a.example.com:80")
        );
        assert!(policy.trusts(&ToolName::parse("disk-usage").unwrap()));
    }

    #[test]
    fn a_policy_cannot_say_what_is_unsafe_or_unknown() {
        let cases = [
            ("[min_tier]\npython = \"none\"", 2, "min_tier.python"),
            (
                "[min_tier]\nnative-trusted = \"none\"",
                2,
                "min_tier.native-trusted",
            ),
            ("[min_tier]\njava = \"oci\"", 2, "min_tier.java"),
            ("[native.du]\ncommand = [\"du\"]", 2, "native.du.command"),
            ("[native.du]\ncommand = []", 2, "native.du.command"),
            (
                "[native.\"../du\"]\ncommand = [\"/du\"]",
                1,
                "native.\"../du\"",
            ),
            (
                "[grants]\nmounts = [{ source = \"data\" }]",
                2,
                "grants.mounts",
            ),
            (
                "[grants]\nnetwork = [\"169.254.169.254:80\"]",
                2,
                "grants.network",
            ),
            ("[ceilings]\nmemory = \"lots\"", 2, "ceilings.memory"),
            ("standin = true", 1, "standin"),
        ];
        for (text, line, key) in cases {
            let error = read(text).expect_err(text);
            assert_eq!(
                (error.line, error.key.as_deref()),
                (line, Some(key)),
                "{text}\n{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}|(min_tier|native|\\[|\\]|=|\"|\n| |t){0,60}") {
            let _ = read(&text);
        }
    }
}
