//! What a tier can run, enforce and grant, and whether it can do so on this host now.

use std::fmt;

use crate::{LimitKind, Tier};

/// What kind of thing a tool is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Form {
    /// A WebAssembly module or component.
    Wasm,
    /// An OCI runtime bundle.
    Bundle,
    /// An OCI image.
    Image,
    /// A command of the host.
    Command,
    /// A function of the embedding program.
    Function,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wasm => "a WebAssembly program",
            Self::Bundle => "an OCI bundle",
            Self::Image => "an OCI image",
            Self::Command => "a command of the host",
            Self::Function => "a function of the embedding program",
        })
    }
}

/// A kind of grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum GrantKind {
    /// Connections to hosts.
    Network,
    /// Environment variables.
    Env,
    /// Secrets.
    Secrets,
    /// Host directories.
    Mounts,
}

impl fmt::Display for GrantKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network",
            Self::Env => "env",
            Self::Secrets => "secrets",
            Self::Mounts => "mounts",
        })
    }
}

/// What a tier can do. What is not listed is refused by placement, never dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// What it runs.
    pub forms: &'static [Form],
    /// The limits it enforces.
    pub limits: &'static [LimitKind],
    /// The grants it gives.
    pub grants: &'static [GrantKind],
}

/// Whether a tier can be used on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// It can.
    Ready(Capabilities),
    /// It cannot.
    Unavailable {
        /// Why not.
        reason: String,
        /// What would help: a command or a setting.
        fix: String,
    },
}

/// One tier and its state on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TierStatus {
    /// The tier.
    pub tier: Tier,
    /// Its state.
    pub readiness: Readiness,
}
