//! Why a call is refused before anything runs.

use std::fmt;

use crate::{Placement, ToolName};

/// A refusal by policy, or by a tier that cannot do what was asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Denied {
    /// The tool that was to run.
    pub tool: ToolName,
    /// Why it was not.
    pub reason: DenyReason,
    /// What would help.
    pub fix: String,
}

/// Why a call is refused.
#[derive(Clone, PartialEq, Debug)]
pub enum DenyReason {
    /// A limit above the operator's ceiling.
    AboveCeiling {
        /// The limit's key.
        limit: &'static str,
        /// What was asked.
        asked: String,
        /// What is allowed.
        ceiling: String,
    },
    /// A grant that the policy does not allow.
    GrantNotAllowed {
        /// The kind of grant.
        kind: crate::GrantKind,
        /// The grant.
        grant: String,
    },
    /// A native tool that is not on the operator's list.
    NotTrusted,
    /// No tier may and can run it.
    NoTier(Box<Placement>),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tool {} is refused: ", self.tool)?;
        match &self.reason {
            DenyReason::AboveCeiling {
                limit,
                asked,
                ceiling,
            } => {
                write!(
                    f,
                    "limit {limit} = {asked} is above the ceiling of {ceiling}"
                )?;
            }
            DenyReason::GrantNotAllowed { kind, grant } => {
                write!(f, "the policy does not allow the {kind} grant {grant:?}")?;
            }
            DenyReason::NotTrusted => {
                f.write_str("it runs on the host without isolation and is not trusted by name")?
            }
            DenyReason::NoTier(placement) => {
                write!(f, "no tier at or above {} can run it", placement.minimum)?;
                // The reasons that can be helped come first.
                let (others, told): (Vec<_>, Vec<_>) = placement
                    .candidates
                    .iter()
                    .partition(|candidate| candidate.is_out_of_question());
                for candidate in told.into_iter().chain(others) {
                    write!(f, "; {candidate}")?;
                }
            }
        }
        write!(f, "; {}", self.fix)
    }
}

impl std::error::Error for Denied {}

impl Denied {
    /// The placement that found no tier, if that is the reason.
    #[must_use]
    pub fn placement(&self) -> Option<&Placement> {
        match &self.reason {
            DenyReason::NoTier(placement) => Some(placement),
            _ => None,
        }
    }
}
