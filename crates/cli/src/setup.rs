//! From the command line to an engine.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axocoatl_isolation::{
    AuditLog, BuildError, Engine, EngineBuilder, Owner, Places, Policy, reap,
};

/// Calls at once in this process: it makes one.
const CONCURRENCY: u32 = 1;

/// An engine builder with this process's places, and those places.
pub(crate) fn builder() -> Result<(EngineBuilder, Places), BuildError> {
    let places = Places::of_process()?;
    Ok((
        Engine::builder()
            .places(places.clone())
            .concurrency(CONCURRENCY),
        places,
    ))
}

/// An engine that touches none of this process's places: everything it makes is in a directory
/// that is removed with the returned value. For proving what the host can do without changing it.
pub(crate) fn trial_engine() -> anyhow::Result<(Engine, Owner)> {
    let trials = make_trials()?;
    // What a trial that was killed left, the next one removes.
    reap(&trials, false).with_context(|| format!("reaping {}", trials.display()))?;
    let home = Owner::new_beneath(&trials)?;
    let engine = Engine::builder()
        .places(Places::under(home.path()))
        .machines(Places::of_process()?.data)
        .policy(Policy::default())
        .tool_roots(Vec::new())
        .audit(AuditLog::off())
        .concurrency(CONCURRENCY)
        .only_looks()
        .build()?;
    Ok((engine, home))
}

/// Where trials are made: a directory of this user alone, beneath the system's temporary one. Made
/// if it is not there.
fn make_trials() -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let path = trials();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .with_context(|| format!("making {}", path.display()))?;
    if !is_ours_alone(&path) {
        anyhow::bail!(
            "{} is not this user's alone: remove it, or set TMPDIR",
            path.display()
        );
    }
    Ok(path)
}

/// Where this user's trials are, if they are anywhere.
pub(crate) fn trials() -> PathBuf {
    let us = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("axocoatl-trials-{us}"))
}

/// Whether `path` is a directory of ours. In a shared directory its name could be taken by
/// somebody else, or lead elsewhere.
pub(crate) fn is_ours_alone(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let us = rustix::process::geteuid().as_raw();
    std::fs::symlink_metadata(path)
        .is_ok_and(|m| m.is_dir() && m.uid() == us && m.mode() & 0o022 == 0)
}
