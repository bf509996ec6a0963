//! The whole tier, as an engine has it, with machines that wait for calls.
//!
//! `AXO_MACHINES` names the data directory in which it was set up, and `AXO_NATIVE_PROBE` the probe.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axo_core::{
    Executor as _, PlacedCall, Policy, Requirement, Run, Tier, TierStatus, ToolCall, ToolName,
    ToolSpec, admit, place,
};
use axo_tier_oci::supervise::PREFIX;
use axo_tier_vm::{VmConfig, VmExecutor};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, Timespec, clock_settime};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guest::{LONG, cgroups, processes};

/// How far the host's clock is set ahead.
const AHEAD: Duration = Duration::from_secs(5000);

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("{name} is not set: cargo xtask nested"))
}

/// The tier with one tool, of which a machine waits.
struct Site {
    executor: VmExecutor,
    spec: Arc<ToolSpec>,
    policy: Policy,
    _home: TempDir,
}

impl Site {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let bundle = home.path().join("bundle");
        let root = bundle.join("rootfs");
        for name in ["proc", "sys", "dev", "tmp", "axocoatl"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::copy(variable("AXO_NATIVE_PROBE"), root.join("probe")).unwrap();
        let config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {"user": {"uid": 65534, "gid": 65534}, "cwd": "/", "args": ["/probe"]},
        });
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        let executor = VmExecutor::new(VmConfig {
            installed: variable("AXO_MACHINES"),
            data: home.path().join("data"),
            images: None,
            trusted_images: Vec::new(),
            concurrency: 2,
            warm: 1,
            reap: false,
        });
        let name = ToolName::parse("probe").unwrap();
        let run = Run::Bundle(bundle.canonicalize().unwrap());
        Self {
            executor,
            spec: Arc::new(ToolSpec::new(name, Requirement::ContainerImage, run)),
            policy: Policy::default(),
            _home: home,
        }
    }

    fn placed(&self, input: Value) -> PlacedCall {
        let call = ToolCall::new(self.spec.name.clone(), input);
        let admitted = admit(&self.policy, &self.spec, call, &|_| None).unwrap();
        let tier = TierStatus {
            tier: Tier::MicroVm,
            readiness: self.executor.readiness(),
        };
        place(admitted, &[tier]).unwrap()
    }

    /// What the probe answers.
    async fn ask(&self, input: Value) -> Value {
        let outcome = self.executor.run(self.placed(input)).await;
        let outcome = outcome.unwrap_or_else(|e| panic!("{}", axo_core::chain(&e)));
        assert!(outcome.termination.is_success(), "{outcome:?}");
        serde_json::from_slice(&outcome.stdout).unwrap()
    }

    /// Firecracker's process of the one machine that waits.
    async fn waiting(&self) -> u32 {
        // What is stored is restored, and waits from then on.
        for _ in 0..2 {
            let prepared = self.executor.prepare(&self.placed(Value::Null)).await;
            prepared.unwrap_or_else(|e| panic!("{}", axo_core::chain(&e)));
        }
        // And what the pool makes by itself meanwhile is one too many.
        let deadline = Instant::now() + LONG;
        loop {
            if let [one] = machines()[..] {
                return one;
            }
            assert!(Instant::now() < deadline, "{:?} wait", machines());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The Firecrackers of every machine, and the jailers that are becoming one.
fn machines() -> Vec<u32> {
    processes(&format!("{PREFIX}vm-"))
}

fn ids() -> Vec<String> {
    let argument = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let mut arguments = text.split('\0').skip_while(|word| *word != "--id");
        arguments.nth(1).map(str::to_owned)
    };
    machines().iter().filter_map(argument).collect()
}

/// The machine that waited is gone: a call took it. One that a busy emulated host kept from answering was
/// given up instead, and may take a moment longer.
async fn is_used_up(waited: u32) {
    let begun = Instant::now();
    while machines().contains(&waited) {
        let left = begun.elapsed();
        assert!(left < LONG, "the one that waited was not used: {:?}", ids());
        println!("{waited} is still there after {left:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn set_clock(time: Duration) {
    let time = Timespec {
        tv_sec: time.as_secs().try_into().unwrap(),
        tv_nsec: time.subsec_nanos().into(),
    };
    clock_settime(ClockId::Realtime, time).unwrap();
}

/// Threat 34. A machine that waited has the clock and the randomness of another time.
#[tokio::test]
async fn a_machine_that_waited_is_renewed_when_it_is_taken_and_serves_one_call() {
    assert!(
        std::env::var_os("AXO_EMULATED").is_some(),
        "this sets the host's clock: cargo xtask nested, where the host is thrown away"
    );
    let site = Site::new();
    let waited = site.waiting().await;
    set_clock(now() + AHEAD);
    let called = now();
    let answer = site.ask(json!({"op": "time"})).await;
    let answered = now();
    set_clock(now() - AHEAD);
    is_used_up(waited).await;
    let shown = Duration::from_millis(answer["wall_ms"].as_u64().unwrap());
    println!("called at {called:?}, shown {shown:?}, answered at {answered:?}");
    // The probe's milliseconds are cut off.
    assert!(shown + Duration::from_millis(1) >= called && shown <= answered);

    let mut drawn = Vec::new();
    for _ in 0..3 {
        let waited = site.waiting().await;
        drawn.push(site.ask(json!({"op": "random"})).await);
        is_used_up(waited).await;
    }
    println!("{drawn:?}");
    assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2]);
}

#[tokio::test]
async fn a_machine_that_died_or_hangs_while_it_waited_costs_no_call() {
    let site = Site::new();
    for signal in [Signal::KILL, Signal::STOP] {
        let waited = site.waiting().await;
        send(waited, signal);
        let answer = site.ask(json!({"op": "echo", "n": 7})).await;
        assert_eq!(answer["n"], 7, "{signal:?}");
        assert!(
            !machines().contains(&waited),
            "{signal:?}: it is there still"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_ends_with_its_executor() {
    let site = Site::new();
    site.waiting().await;
    let ids = ids();
    let [id] = &ids[..] else {
        panic!("{ids:?}");
    };
    assert!(!cgroups(id).is_empty());
    drop(site);
    let deadline = Instant::now() + LONG;
    while !machines().is_empty() || !cgroups(id).is_empty() {
        let left = (machines(), cgroups(id));
        assert!(Instant::now() < deadline, "{left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // While the pool is being filled: with a clone of the machine that was just stored.
    let site = Site::new();
    let prepared = site.executor.prepare(&site.placed(Value::Null)).await;
    prepared.unwrap_or_else(|e| panic!("{}", axo_core::chain(&e)));
    let deadline = Instant::now() + LONG;
    while machines().is_empty() {
        assert!(Instant::now() < deadline, "nothing is made");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(site);
    let deadline = Instant::now() + LONG;
    while !machines().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", machines());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
