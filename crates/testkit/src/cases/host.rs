//! What the native cases share: what the host sees of a tool, the errors a tool may meet, and how
//! results are falsified.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axo_core::{Document, EnvGrant, Outcome, Tier, ToolOutput};
use serde_json::{Value, json};

use super::ensure;
use crate::pace::paced;
use crate::rig::{Request, Rig};

pub(super) const EPERM: i64 = 1;
pub(super) const ENOENT: i64 = 2;
pub(super) const ENXIO: i64 = 6;
pub(super) const EAGAIN: i64 = 11;
pub(super) const EACCES: i64 = 13;
pub(super) const EINVAL: i64 = 22;
pub(super) const ETXTBSY: i64 = 26;
pub(super) const ENOSPC: i64 = 28;
pub(super) const EROFS: i64 = 30;
pub(super) const ENOSYS: i64 = 38;

/// The kernel, or a filter before it, does not do that for tools.
pub(super) const FORBIDDEN: &[i64] = &[EPERM, ENOSYS];
/// The file cannot be opened for writing, or is not there.
pub(super) const OUT_OF_REACH: &[i64] = &[EPERM, ENOENT, EACCES, EROFS];

/// The devices that a tool has.
pub(super) const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// How often the host is looked at while a tool runs.
const GLANCE: Duration = Duration::from_millis(10);
/// How long a call may take at all: more than any time limit of these cases.
const AT_MOST: Duration = Duration::from_secs(60);
/// How long what has ended may take to be gone from a list.
const GONE: Duration = Duration::from_millis(250);

/// A variable in a tool's environment that tells its processes from all others of the host.
pub(super) struct Mark(String);

impl Mark {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("AXO_MARK={}-{number}-end", std::process::id()))
    }

    /// `request` with the mark.
    pub(super) fn on(&self, request: Request) -> Request {
        request.grants(|grants| grants.env.push(EnvGrant::parse(&self.0).unwrap()))
    }

    /// The processes with the mark.
    pub(super) fn processes(&self) -> Vec<u32> {
        let marked = |process: &u32| {
            let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == self.0.as_bytes())
        };
        processes().filter(marked).collect()
    }

    /// Makes a call, and looks at the host meanwhile. Also gives the largest number of processes seen
    /// at once, and what `glance` made of them the last time there were any.
    pub(super) async fn watch<T>(
        &self,
        call: impl Future<Output = Result<Outcome, String>>,
        glance: impl Fn(&[u32]) -> T,
    ) -> Result<(Outcome, usize, Option<T>), String> {
        let (mut most, mut last) = (0, None);
        let deadline = tokio::time::sleep(AT_MOST);
        tokio::pin!(call, deadline);
        loop {
            tokio::select! {
                outcome = &mut call => return Ok((outcome?, most, last)),
                () = &mut deadline => return Err(format!("the call has not ended after {AT_MOST:?}")),
                () = tokio::time::sleep(GLANCE) => {
                    let found = self.processes();
                    most = most.max(found.len());
                    if !found.is_empty() {
                        last = Some(glance(&found));
                    }
                }
            }
        }
    }

    /// Makes a call of which the host sees between `least` and `limit` processes at once, and none
    /// afterwards. A virtual machine's processes are not the host's to see.
    pub(super) async fn ends_whole(
        &self,
        rig: &Rig,
        request: Request,
        (least, limit): (usize, usize),
    ) -> Result<Outcome, String> {
        let (outcome, most, _) = self.watch(rig.call(self.on(request)), |_| ()).await?;
        self.gone().await?;
        ensure(most <= limit, || {
            format!("the host saw {most} processes at once, not at most {limit}")
        })?;
        // Only root may look into the processes of other users, whom a sandbox's are.
        let looks = rig.tier() == Tier::Oci && rustix::process::geteuid().is_root();
        ensure(!looks || most >= least, || {
            format!("the host saw {most} processes, not at least {least}: the mark is not seen")
        })?;
        Ok(outcome)
    }

    /// Waits until a process has the mark.
    pub(super) async fn seen(&self) {
        while self.processes().is_empty() {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// No process has the mark.
    pub(super) async fn gone(&self) -> Result<(), String> {
        let deadline = std::time::Instant::now() + paced(GONE);
        loop {
            let left = self.processes();
            if left.is_empty() {
                return Ok(());
            }
            ensure(std::time::Instant::now() < deadline, || {
                format!("processes are left on the host: {left:?}")
            })?;
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// Every process there is.
fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// No child of ours has ended without being waited for. Calls beside this one may be about to.
pub(super) async fn every_child_is_reaped() -> Result<(), String> {
    let own = std::process::id().to_string();
    let unreaped = |process: &u32| {
        let stat = host_file(format!("/proc/{process}/stat"));
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = rest.split(' ');
        fields.next() == Some("Z") && fields.next() == Some(&own)
    };
    let mut left: Vec<_> = processes().filter(unreaped).collect();
    let deadline = std::time::Instant::now() + 4 * paced(GONE);
    while !left.is_empty() && std::time::Instant::now() < deadline {
        tokio::time::sleep(GLANCE).await;
        left.retain(unreaped);
    }
    ensure(left.is_empty(), || format!("not waited for: {left:?}"))
}

/// A small file of the host, or nothing.
pub(super) fn host_file(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Every number in `found` is one of `allowed`, at any depth, but for the strings and lists.
pub(super) fn all_refused(found: &Value, allowed: &[i64]) -> Result<(), String> {
    fn walk(name: &str, value: &Value, allowed: &[i64], seen: &mut usize) -> Result<(), String> {
        match value {
            Value::Object(members) => members.iter().try_for_each(|(key, member)| {
                walk(&format!("{name}/{key}"), member, allowed, seen)
            }),
            Value::Number(errno) => {
                *seen += 1;
                let errno = errno.as_i64().unwrap_or_default();
                ensure(allowed.contains(&errno), || {
                    format!("{name} came to {errno}, not one of {allowed:?} (0 is success)")
                })
            }
            _ => Ok(()),
        }
    }
    let mut seen = 0;
    walk("", found, allowed, &mut seen)?;
    ensure(seen > 0, || format!("nothing was tried: {found}"))
}

/// Changes what the tool answered; an answer that is no object becomes one.
pub(super) fn edit(outcome: &mut Outcome, change: impl FnOnce(&mut Value)) {
    let answer = outcome.document().map(|document| document.value().clone());
    let mut value = answer.filter(Value::is_object).unwrap_or_else(|| json!({}));
    change(&mut value);
    outcome.output = ToolOutput::Document(Document::from(value));
}

/// Pretends that everything the tool tried succeeded.
pub(super) fn everything_worked(outcome: &mut Outcome) {
    fn zero(value: &mut Value) {
        match value {
            Value::Number(_) => *value = json!(0),
            Value::Object(members) => members.values_mut().for_each(zero),
            Value::Array(items) => items.iter_mut().for_each(zero),
            _ => {}
        }
    }
    edit(outcome, zero);
}

/// A tool that does something else.
pub(super) fn something_else(request: &mut Request) {
    request.input = json!({"op": "exit", "code": 77});
}
