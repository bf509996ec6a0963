//! How to pull.

use std::fmt;
use std::time::Duration;

use crate::Platform;

/// Credentials for a registry.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// From the files that `podman login` and `docker login` write: `$REGISTRY_AUTH_FILE`,
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, `~/.config/containers/auth.json`,
    /// `~/.docker/config.json`, the first that knows the registry. Credential helpers are not run.
    #[default]
    Files,
    /// None.
    Anonymous,
    /// These.
    Basic {
        /// User name.
        username: String,
        /// Password, or token.
        password: String,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files => f.write_str("Files"),
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { username, .. } => write!(f, "Basic({username:?}, …)"),
        }
    }
}

/// Whether registries are spoken to without TLS. Images are checked by digest either way; a tag,
/// and every password, is then for whoever is in between.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum InsecureHttp {
    /// Never.
    #[default]
    Never,
    /// Those on this machine: `localhost` and loopback addresses. Others with TLS.
    Loopback,
    /// All.
    Everywhere,
}

/// How to pull.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Without TLS?
    pub insecure_http: InsecureHttp,
    /// With which credentials.
    pub auth: Auth,
    /// For which machines.
    pub platform: Platform,
    /// To connect. Default: 10 s.
    pub connect_timeout: Duration,
    /// Between one piece and the next, and for the first one. Default: 30 s.
    pub idle_timeout: Duration,
    /// For all of it. Default: one hour.
    pub deadline: Duration,
    /// How often a request that failed for reasons that pass is made again. Default: 3.
    pub retries: u32,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            insecure_http: InsecureHttp::default(),
            auth: Auth::default(),
            platform: Platform::host(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            deadline: Duration::from_secs(60 * 60),
            retries: 3,
        }
    }
}

/// Whether a registry, `host` or `host:port`, is on this machine by its name alone.
pub(super) fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_by_name() {
        for name in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:5000",
        ] {
            assert!(is_loopback(name), "{name}");
        }
        for name in [
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org:80",
            "10.0.0.1",
        ] {
            assert!(!is_loopback(name), "{name}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let auth = Auth::Basic {
            username: "me".to_owned(),
            password: "hunter2".to_owned(),
        };
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}
