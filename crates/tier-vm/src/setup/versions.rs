//! Which versions programs say they are, and what is known against these.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::SetupError;
use crate::artifacts::Versions;

/// How long a program may take to say its version. They take milliseconds.
const DEADLINE: Duration = Duration::from_secs(10);

/// What it may say, in bytes.
const MAX_OUTPUT_BYTES: u64 = 16 << 10;

/// The longest version, in bytes.
const MAX_VERSION_BYTES: usize = 64;

/// How often a program is started that somebody still writes: a process that another thread just
/// started has our descriptors until it executes its program.
const MAX_TRIES: u32 = 50;

/// A weakness that is known of something installed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vulnerability {
    /// Its number.
    pub id: &'static str,
    /// What it is in, what it does, and what to do, or why that can wait.
    pub message: String,
    /// Whether it can be used against machines as they are made here.
    pub concerns: bool,
}

/// A version, as `1.12.1`.
type Version = (u64, u64, u64);

/// Something known.
struct Known {
    id: &'static str,
    of: fn(&Versions) -> (&'static str, &str),
    /// From the first of these versions to before the second.
    affected: &'static [(Version, Version)],
    /// What somebody can do by it.
    what: &'static str,
    /// Why nobody can do it here, if nobody can.
    not_here: Option<&'static str>,
}

const KNOWN: [Known; 2] = [
    // AWS security bulletin 2026-003.
    Known {
        id: "CVE-2026-1386",
        of: |versions| ("jailer", &versions.jailer.version),
        affected: &[((0, 0, 0), (1, 13, 2)), ((1, 14, 0), (1, 14, 1))],
        what: "who can write where jails are made can have it overwrite files of the host",
        not_here: Some("each jail is made where only its runner sees it, and only root can write"),
    },
    // AWS security bulletin 2026-015.
    Known {
        id: "CVE-2026-5747",
        of: |versions| ("firecracker", &versions.firecracker.version),
        affected: &[((1, 13, 0), (1, 14, 4)), ((1, 15, 0), (1, 15, 1))],
        what: "root of a guest with PCI devices can write out of bounds",
        not_here: Some("machines here have none"),
    },
];

/// What is known against what is installed. What does not say which version it is may be any.
#[must_use]
pub fn vulnerabilities(versions: &Versions) -> Vec<Vulnerability> {
    among(&KNOWN, versions)
}

fn among(all: &[Known], versions: &Versions) -> Vec<Vulnerability> {
    let found = all.iter().filter_map(|known| {
        let (program, version) = (known.of)(versions);
        let has = |version| {
            let within = |(from, to): &(Version, Version)| (*from..*to).contains(&version);
            known.affected.iter().any(within)
        };
        if parse(version).is_some_and(|version| !has(version)) {
            return None;
        }
        let so = match known.not_here {
            Some(why) => format!("it does not concern tier microvm: {why}"),
            None => "install a newer release of Firecracker".to_owned(),
        };
        Some(Vulnerability {
            id: known.id,
            message: format!("{program} {version} has {}: {}; {so}", known.id, known.what),
            concerns: known.not_here.is_none(),
        })
    });
    found.collect()
}

/// `1.12.1`, with something behind it or not. A version before a release, as `1.14.1-dev`, is older
/// than it.
fn parse(version: &str) -> Option<Version> {
    let mut numbers = version.splitn(3, '.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// The version that the program in `path` says it is, which begins its output as `<name> v`.
pub(super) async fn of(path: &Path, name: &str) -> Result<String, SetupError> {
    of_within(path, name, DEADLINE).await
}

async fn of_within(path: &Path, name: &str, deadline: Duration) -> Result<String, SetupError> {
    let failed = |problem: String, fix: &str| SetupError::Program {
        path: path.to_owned(),
        problem,
        fix: fix.to_owned(),
    };
    let output = timeout(deadline, output(path)).await.map_err(|_| {
        let problem = format!("`--version` took more than {} s", deadline.as_secs());
        failed(problem, "check that it is the right file")
    })?;
    let output = output.map_err(|error| {
        let problem = format!("it cannot be started: {error}");
        failed(problem, "check that it is a program for this machine, and that the data directory is not mounted noexec")
    })?;
    let text = String::from_utf8_lossy(&output);
    let version = version_in(&text, name).ok_or_else(|| {
        let problem = format!("`--version` does not say `{name} v…`");
        failed(
            problem,
            "check that it is the right file, and not the other of the two",
        )
    })?;
    Ok(version.to_owned())
}

fn version_in<'a>(output: &'a str, name: &str) -> Option<&'a str> {
    let line = output.lines().next()?;
    let version = line.strip_prefix(name)?.strip_prefix(" v")?.trim_end();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-+_".contains(&byte);
    let good = (1..=MAX_VERSION_BYTES).contains(&version.len()) && version.bytes().all(plain);
    good.then_some(version)
}

/// What it writes to standard output, up to the limit. Dropped, it is killed.
async fn output(path: &Path) -> io::Result<Vec<u8>> {
    // It is started elsewhere.
    let path = std::path::absolute(path)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a program says which version it is when it is started"
    )]
    let mut command = Command::new(path);
    command
        .arg("--version")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut tries = 0;
    let mut child = loop {
        match command.spawn() {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < MAX_TRIES =>
            {
                tries += 1;
                sleep(Duration::from_millis(20)).await;
            }
            spawned => break spawned?,
        }
    };
    let mut bytes = Vec::new();
    if let Some(output) = child.stdout.take() {
        output
            .take(MAX_OUTPUT_BYTES)
            .read_to_end(&mut bytes)
            .await?;
    }
    // Whether it succeeds is not asked: what it said counts.
    child.kill().await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::Component;
    use crate::testing::program;

    #[test]
    fn a_version_is_told_by_the_first_line() {
        let of = |output| version_in(output, "Firecracker");
        assert_eq!(
            of("Firecracker v1.12.1\n\n2026-… exiting\n"),
            Some("1.12.1")
        );
        assert_eq!(of("Firecracker v1.14.0-dev\r\n"), Some("1.14.0-dev"));
        let long = format!("Firecracker v{}", "1".repeat(65));
        for bad in [
            "",
            "\nFirecracker v1",
            "Jailer v1.12.1",
            "Firecracker v",
            "Firecracker v1 \x1b",
            &long,
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_program_has_a_deadline_and_a_limit() {
        let home = tempfile::tempdir().unwrap();
        let deadline = Duration::from_secs(3);
        let of = async |script: &str| {
            let path = program(home.path(), script);
            of_within(&path, "Jailer", deadline).await
        };
        assert_eq!(of("echo Jailer v1.2.3").await.unwrap(), "1.2.3");
        // With nothing of our environment, and no input.
        let script = "read x && exit; test -z \"$CARGO\" && echo Jailer v1.2.3";
        assert_eq!(of(script).await.unwrap(), "1.2.3");
        assert_eq!(of("echo Jailer v1.2.3; exec yes").await.unwrap(), "1.2.3");
        for (script, said) in [
            ("exec sleep 600", "took more than 3 s"),
            ("echo Jailer v1.2.3; exec sleep 600", "took more than 3 s"),
            ("exec yes", "does not say"),
            ("exit 1", "does not say"),
        ] {
            let error = of(script).await.unwrap_err().to_string();
            assert!(error.contains(said), "{script}: {error}");
        }
        let error = of_within(home.path(), "Jailer", deadline)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("cannot be started"), "{error}");
    }

    fn versions(firecracker: &str, jailer: &str) -> Versions {
        let component = |version: &str| Component {
            version: version.to_owned(),
            sha256: String::new(),
            from: String::new(),
        };
        Versions {
            firecracker: component(firecracker),
            jailer: component(jailer),
            kernel: component("6"),
        }
    }

    #[test]
    fn what_concerns_nobody_here_says_why_and_what_does_says_what_to_do() {
        let of = |not_here| {
            let known = Known {
                id: "CVE-0",
                of: |versions| ("firecracker", &versions.firecracker.version),
                affected: &[((1, 0, 0), (1, 1, 0))],
                what: "a guest can escape",
                not_here,
            };
            let [found] = &among(&[known], &versions("1.0.5", "1.0.5"))[..] else {
                panic!("it is not known");
            };
            found.clone()
        };
        let concerns = of(None);
        assert!(concerns.concerns);
        assert_eq!(
            concerns.message,
            "firecracker 1.0.5 has CVE-0: a guest can escape; install a newer release of Firecracker"
        );
        let none = of(Some("guests are tame"));
        assert!(!none.concerns);
        assert!(
            none.message
                .ends_with("does not concern tier microvm: guests are tame")
        );
    }

    #[test]
    fn what_is_known_is_known_of_the_versions_that_have_it() {
        let ids = |firecracker: &str, jailer: &str| {
            let found = vulnerabilities(&versions(firecracker, jailer));
            // Machines have no PCI devices, and jails are nobody else's to write to.
            assert!(found.iter().all(|known| !known.concerns), "{found:?}");
            found.into_iter().map(|known| known.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("1.12.1", "1.12.1"), ["CVE-2026-1386"]);
        assert_eq!(ids("1.13.1", "1.13.1"), ["CVE-2026-1386", "CVE-2026-5747"]);
        assert_eq!(ids("1.13.2", "1.13.2"), ["CVE-2026-5747"]);
        assert_eq!(ids("1.14.0", "1.14.0"), ["CVE-2026-1386", "CVE-2026-5747"]);
        assert_eq!(ids("1.14.1", "1.14.1"), ["CVE-2026-5747"]);
        assert_eq!(ids("1.14.4", "1.14.4"), [""; 0]);
        assert_eq!(ids("1.15.0", "1.15.0"), ["CVE-2026-5747"]);
        assert_eq!(ids("1.17.0", "1.17.0"), [""; 0]);
        assert_eq!(ids("2.0.0", "main"), ["CVE-2026-1386"]);
    }
}
