//! How strong isolation is, and what a tool asks for.

use std::fmt;

/// A strength of isolation. The order is the order of strength.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Tier {
    /// No wall: a function or command of the host, trusted by name.
    None,
    /// Software fault isolation: a WebAssembly program in Wasmtime.
    Wasm,
    /// Namespaces, cgroups and seccomp: an OCI container.
    Oci,
    /// A virtual machine: a Firecracker microVM.
    MicroVm,
}

/// What a tool needs to run, from its manifest's `requires`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Requirement {
    /// A WebAssembly program.
    Wasm,
    /// A Python program.
    Python,
    /// A shell script.
    Shell,
    /// Any native program.
    Arbitrary,
    /// A program packed as an OCI image or bundle.
    ContainerImage,
    /// A function or command of the host, trusted by name.
    NativeTrusted,
}

/// A word that is not one of those expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not a {what}: write one of {expected}")]
pub struct UnknownWord {
    what: &'static str,
    word: String,
    expected: String,
}

impl UnknownWord {
    pub(crate) fn new(what: &'static str, word: &str, expected: &[&str]) -> Self {
        /// Longest part of the word that an error repeats, in characters.
        const MAX_ECHO: usize = 40;
        Self {
            what,
            word: word.chars().take(MAX_ECHO).collect(),
            expected: expected.join(", "),
        }
    }
}

impl Tier {
    /// Every tier, weakest first.
    pub const ALL: [Self; 4] = [Self::None, Self::Wasm, Self::Oci, Self::MicroVm];

    /// The tier's word in manifests, policies and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Wasm => "wasm",
            Self::Oci => "oci",
            Self::MicroVm => "microvm",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Tier {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.as_str() == word)
            .ok_or_else(|| UnknownWord::new("tier", word, &Self::ALL.map(Self::as_str)))
    }
}

impl Requirement {
    /// Every requirement.
    pub const ALL: [Self; 6] = [
        Self::Wasm,
        Self::Python,
        Self::Shell,
        Self::Arbitrary,
        Self::ContainerImage,
        Self::NativeTrusted,
    ];

    /// The requirement's word in manifests and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Python => "python",
            Self::Shell => "shell",
            Self::Arbitrary => "arbitrary",
            Self::ContainerImage => "container-image",
            Self::NativeTrusted => "native-trusted",
        }
    }

    /// The weakest tier that may run it where the operator has not said otherwise.
    #[must_use]
    pub const fn default_minimum(self) -> Tier {
        match self {
            Self::Wasm => Tier::Wasm,
            Self::ContainerImage => Tier::Oci,
            Self::Python | Self::Shell | Self::Arbitrary => Tier::MicroVm,
            Self::NativeTrusted => Tier::None,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Requirement {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|requirement| requirement.as_str() == word)
            .ok_or_else(|| UnknownWord::new("requirement", word, &Self::ALL.map(Self::as_str)))
    }
}
