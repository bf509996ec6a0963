//! The state of the sandbox.

use std::fs;
use std::path::{Path, PathBuf};

use axo_guest_proto::{Disk, Failure, Metrics};

use crate::agent::Agent;
use crate::files;

pub(crate) async fn measure(agent: &Agent, path: Vec<u8>) -> Result<Metrics, Failure> {
    let (mut metrics, disk) = files::in_thread(move || {
        let disk = (!path.is_empty()).then(|| disk(&path)).transpose();
        (of_cgroup(), disk)
    })
    .await?;
    metrics.disk = disk?;
    metrics.running = agent.table.running() as u64;
    metrics.ended = agent.table.ended() as u64;
    metrics.retained = agent.table.retained() as u64;
    metrics.connections = agent.connections() as u64;
    metrics.uptime_millis = u64::try_from(agent.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(metrics)
}

fn disk(path: &[u8]) -> Result<Disk, Failure> {
    let told = rustix::fs::statvfs(path).map_err(|e| files::failure("measuring", path, e))?;
    Ok(Disk {
        total: told.f_blocks.saturating_mul(told.f_frsize),
        free: told.f_bavail.saturating_mul(told.f_frsize),
        files: told.f_files,
        files_free: told.f_favail,
    })
}

/// What the cgroup of the agent tells: in a sandbox, that of the sandbox.
fn of_cgroup() -> Metrics {
    let memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let unified = directory(&memberships, "", "");
    if unified.join("cgroup.controllers").exists() {
        return Metrics {
            tasks: number(&unified, "pids.current"),
            memory: number(&unified, "memory.current"),
            peak_memory: number(&unified, "memory.peak"),
            memory_limit: number(&unified, "memory.max"),
            cpu_micros: line_of(&unified, "cpu.stat", "usage_usec"),
            ..Metrics::default()
        };
    }
    let memory = directory(&memberships, "memory", "memory");
    Metrics {
        tasks: number(&directory(&memberships, "pids", "pids"), "pids.current"),
        memory: number(&memory, "memory.usage_in_bytes"),
        peak_memory: number(&memory, "memory.max_usage_in_bytes"),
        // Without a limit it says the largest multiple of a page.
        memory_limit: number(&memory, "memory.limit_in_bytes").filter(|limit| *limit < 1 << 62),
        cpu_micros: number(
            &directory(&memberships, "cpuacct", "cpuacct"),
            "cpuacct.usage",
        )
        .map(|nanos| nanos / 1000),
        ..Metrics::default()
    }
}

/// The directory of a hierarchy. A sandbox with a mount of its own cgroup has that at the top.
fn directory(memberships: &str, controller: &str, mounted: &str) -> PathBuf {
    let top = Path::new("/sys/fs/cgroup").join(mounted);
    let ours = memberships.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let found = controllers.split(',').any(|name| name == controller);
        found.then(|| top.join(path.trim_start_matches('/')))
    });
    ours.filter(|ours| ours.is_dir()).unwrap_or(top)
}

fn number(directory: &Path, file: &str) -> Option<u64> {
    let text = fs::read_to_string(directory.join(file)).ok()?;
    text.trim().parse().ok()
}

fn line_of(directory: &Path, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(directory.join(file)).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().parse().ok()
}
