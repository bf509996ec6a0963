//! The operator's rules: `policy.toml`.

mod parse;

use std::collections::BTreeMap;
use std::path::PathBuf;

use std::time::Duration;

use crate::{HostPort, Limits, MountMode, Requirement, Size, Tier, ToolName};

/// The operator's rules. [`Policy::default`] is what holds without a file: nothing is granted, no
/// host command is trusted, and every requirement has its default minimum tier.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Minimum tier by requirement, where the operator set one.
    pub minimum: BTreeMap<Requirement, Tier>,
    /// Minimum tier by tool, where the operator set one.
    pub tool_minimum: BTreeMap<ToolName, Tier>,
    /// No call may ask for more than this. Default: [`DEFAULT_CEILINGS`].
    pub ceilings: Limits,
    /// Which grants may be given at all.
    pub grants: GrantRules,
    /// Whether a stronger tier may stand in for a weaker one that is missing. Never the reverse.
    pub stand_in: bool,
    /// References of images that may be pulled and run, as patterns with `*`.
    pub trusted_images: Vec<String>,
    /// Commands of the host that may be called as tools.
    pub native: BTreeMap<ToolName, NativeCommand>,
    /// Functions that the embedding program registered; never from the file.
    pub native_functions: Vec<ToolName>,
    /// What sessions may be given.
    pub sessions: SessionRules,
}

/// What sessions may be given beyond a sandbox without a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SessionRules {
    /// The network `bridge`, with ports published on the loopback address.
    pub bridge: bool,
    /// Commands that a project wants run when its session is made.
    pub setup_commands: bool,
    /// No session may ask for a longer life. Default: no ceiling.
    pub total: Option<Duration>,
}

/// Which grants may be given.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GrantRules {
    /// `host:port` patterns; `*.example.com:443` covers every name below example.com.
    pub network: Vec<HostPattern>,
    /// Names of variables.
    pub env: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// Host directories.
    pub mounts: Vec<MountRule>,
}

/// A host name or a `*.` suffix, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    any_subdomain: bool,
    host: HostPort,
}

/// A host directory that may be mounted, with everything beneath it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRule {
    /// The directory, absolute.
    pub source: PathBuf,
    /// The most that may be granted.
    pub mode: MountMode,
}

/// A command of the host that may be called as a tool.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct NativeCommand {
    /// Program, absolute, and its arguments.
    pub command: Vec<String>,
    /// What it does.
    pub description: Option<String>,
    /// Its limits; the tier `none` enforces `wall` and `output`.
    pub limits: Limits,
}

/// Where a minimum tier comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinimumSource {
    /// The default of the tool's requirement.
    Default,
    /// The operator's rule for the requirement.
    Requirement,
    /// The operator's rule for the tool.
    Tool,
    /// The tool's manifest, which asks for more than the policy does.
    Manifest,
    /// The caller, who asks for more than the policy does.
    Caller,
}

/// The ceilings where the operator sets no other. Output is held in our memory and files are open
/// descriptors of ours, so no manifest may ask for as much as it likes.
pub const DEFAULT_CEILINGS: Limits = Limits {
    wall: Some(Duration::from_secs(3600)),
    cpu: None,
    memory: Some(Size::from_mib(4096)),
    pids: Some(4096),
    files: Some(4096),
    disk: Some(Size::from_mib(8192)),
    output: Some(Size::from_mib(64)),
    fuel: None,
};

impl Default for Policy {
    fn default() -> Self {
        Self {
            minimum: BTreeMap::new(),
            tool_minimum: BTreeMap::new(),
            ceilings: DEFAULT_CEILINGS,
            grants: GrantRules::default(),
            stand_in: true,
            trusted_images: Vec::new(),
            native: BTreeMap::new(),
            native_functions: Vec::new(),
            sessions: SessionRules::default(),
        }
    }
}

impl Policy {
    /// The weakest tier that the operator lets this tool run on.
    #[must_use]
    pub fn minimum_for(&self, tool: &ToolName, requires: Requirement) -> (Tier, MinimumSource) {
        if let Some(tier) = self.tool_minimum.get(tool) {
            return (*tier, MinimumSource::Tool);
        }
        match self.minimum.get(&requires) {
            Some(tier) => (*tier, MinimumSource::Requirement),
            None => (requires.default_minimum(), MinimumSource::Default),
        }
    }

    /// Lets `tool` run on `tier` where only the built-in default for its requirement asks for more.
    /// A minimum that the operator wrote down stands, and nothing but a native tool gets `none`.
    pub fn lower_default(&mut self, tool: &ToolName, requires: Requirement, tier: Tier) {
        let (minimum, source) = self.minimum_for(tool, requires);
        if source == MinimumSource::Default && tier < minimum && tier > Tier::None {
            self.tool_minimum.insert(tool.clone(), tier);
        }
    }

    /// Whether the operator, or the embedding program, trusts this name to run on the host.
    #[must_use]
    pub fn trusts(&self, tool: &ToolName) -> bool {
        self.native.contains_key(tool) || self.native_functions.contains(tool)
    }

    /// Whether an image that is not in the store may be fetched by this reference.
    #[must_use]
    pub fn trusts_image(&self, reference: &str) -> bool {
        self.trusted_images
            .iter()
            .any(|pattern| crate::pattern::matches(pattern, reference))
    }
}

impl HostPattern {
    /// Whether a grant falls under the pattern.
    #[must_use]
    pub fn covers(&self, grant: &HostPort) -> bool {
        if self.host.port != grant.port {
            return false;
        }
        if !self.any_subdomain {
            return self.host.host == grant.host;
        }
        grant
            .host
            .strip_suffix(&self.host.host)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }

    /// Reads `host:port` or `*.host:port`.
    ///
    /// # Errors
    /// [`crate::GrantError`] if it is not one.
    pub fn parse(text: &str) -> Result<Self, crate::GrantError> {
        let (any_subdomain, host) = match text.strip_prefix("*.") {
            Some(host) => (true, host),
            None => (false, text),
        };
        Ok(Self {
            any_subdomain,
            host: HostPort::parse(host)?,
        })
    }
}

impl From<HostPort> for HostPattern {
    fn from(host: HostPort) -> Self {
        Self {
            any_subdomain: false,
            host,
        }
    }
}

impl std::fmt::Display for MinimumSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Default => "the default for its requirement",
            Self::Requirement => "the policy's rule for its requirement",
            Self::Tool => "the policy's rule for this tool",
            Self::Manifest => "the tool's manifest",
            Self::Caller => "the caller",
        })
    }
}
