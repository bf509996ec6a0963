//! How a session's agent is reached from this host.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SessionId;
use crate::agent::AgentError;
use crate::means::Means;
use crate::podman::{Attached, Os};

/// How a session's agent is reached. A session keeps the one that it was made with.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Over a Unix socket, whose listening end podman hands to the container. Nothing in the session
    /// has a name for it.
    #[default]
    Socket,
    /// Over standard input and output of one `podman exec` a connection, where sockets do not cross:
    /// into podman's virtual machine. The agent's socket has a name in the session, so what runs
    /// there can end it, or answer in its place.
    Bridge,
}

impl Transport {
    /// The one that works on this system.
    #[must_use]
    pub fn here() -> Self {
        Self::of(Os::current())
    }

    /// The one that works there.
    #[must_use]
    pub const fn of(os: Os) -> Self {
        match os.needs_machine() {
            true => Self::Bridge,
            false => Self::Socket,
        }
    }

    /// As text, as records and `--json` have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Bridge => "bridge",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where podman is asked for a bridge to the agent of one session.
#[derive(Clone, Debug)]
pub(crate) struct Crossing {
    means: Means,
    session: SessionId,
}

impl Crossing {
    pub(crate) const fn new(means: Means, session: SessionId) -> Self {
        Self { means, session }
    }

    /// A new bridge, for one connection.
    pub(crate) async fn bridge(&self) -> Result<Attached, AgentError> {
        let no_bridge =
            |error: &dyn std::error::Error| AgentError::NoBridge(axo_core::chain(error));
        let containers = self.means.containers().await.map_err(|e| no_bridge(&e))?;
        containers.bridge(&self.session).map_err(|e| no_bridge(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_do_not_cross_into_a_virtual_machine() {
        for (os, transport) in [
            (Os::Linux, Transport::Socket),
            (Os::Wsl, Transport::Socket),
            (Os::Other, Transport::Socket),
            (Os::MacOs, Transport::Bridge),
            (Os::Windows, Transport::Bridge),
        ] {
            assert_eq!(Transport::of(os), transport, "{os:?}");
        }
    }
}
