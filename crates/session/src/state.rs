//! The states of a session.
//!
//! ```text
//!  create                it is set up             stop, or a limit          all is removed
//!    └──→ Starting ──────────────────→ Ready ─────────────────→ Stopping ──────────────→ Stopped
//!            │  └────────────────────────┼──────── stop ──────────→ │
//!            └───────────────────────────┴──────────────────────────┴──→ Lost
//!     (it could not be started or set up, its maker died, or its container went without us)
//! ```
//!
//! `Stopped` and `Lost` are ends: nothing of the session runs, only its record is left.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a session is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its container is being made, and the project's commands set it up.
    Starting,
    /// Its agent serves everybody.
    Ready,
    /// Its processes are being ended and its container removed.
    Stopping,
    /// It ended as it should.
    Stopped,
    /// It ended otherwise: it could not be started or set up, its maker died, or its container went
    /// without us.
    Lost,
}

impl State {
    /// Whether the diagram has an arrow from here to `next`.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Starting, Self::Ready | Self::Stopping | Self::Lost)
                | (Self::Ready, Self::Stopping | Self::Lost)
                | (Self::Stopping, Self::Stopped | Self::Lost)
        )
    }

    /// Whether nothing of the session runs any more.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Stopped | Self::Lost)
    }

    /// The state as text, as records and `--json` have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::State::{Lost, Ready, Starting, Stopped, Stopping};

    #[test]
    fn ends_are_ends_and_everything_else_can_get_lost() {
        for state in [Starting, Ready, Stopping, Stopped, Lost] {
            assert_eq!(state.may_become(Lost), !state.is_end(), "{state}");
            assert!(!state.may_become(state) && !state.may_become(Starting));
            if state.is_end() {
                assert!(
                    ![Ready, Stopping, Stopped]
                        .iter()
                        .any(|next| state.may_become(*next))
                );
            }
        }
        assert!(
            !Starting.may_become(Stopped),
            "what was made has to be removed first"
        );
    }
}
