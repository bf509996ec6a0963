//! Threat 45: the host process is killed at any moment of its life. It is this program, started again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axo_core::chain;

use crate::common::{Dice, block_on};
use crate::host::{Host, machines};
use crate::site::{Site, ask, call, data, engine, tool};

const HOME: &str = "AXO_TEST_HOST_HOME";
/// Before what a host process says of itself.
const PHASE: &str = "phase: ";
/// The last phase of all, in which it waits to be killed.
const ENDED: &str = "has ended";
/// How long the tool runs, in seconds.
const RUNS: u64 = 1;

/// Hosts that begin with nothing: they boot a machine, store it and call.
const COLD: usize = 12;
/// Hosts that find a stored machine.
const WARM: usize = 38;

fn phase(name: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\n{PHASE}{name}").unwrap();
    stdout.flush().unwrap();
}

/// Not a test: the host process. Started without its variable, it does nothing.
#[test]
fn host_process() {
    let Ok(home) = std::env::var(HOME) else {
        return;
    };
    let home = PathBuf::from(home);
    block_on(async {
        phase("begins");
        let engine = engine(&home);
        phase("prepares");
        if let Err(error) = engine.check(&tool()).await {
            panic!("{}", chain(&error));
        }
        phase("calls");
        let outcome = engine.call(call(RUNS, None)).await;
        outcome.unwrap_or_else(|error| panic!("{}", chain(&error)));
        phase("has called");
        drop(engine);
        phase(ENDED);
        // It is killed sooner.
        std::thread::sleep(Duration::from_secs(600));
    });
}

/// A host process, and what it said last.
struct Running {
    process: Child,
    said: Arc<Mutex<String>>,
}

impl Running {
    #[expect(
        clippy::disallowed_methods,
        reason = "the host process is one of its own"
    )]
    fn start(home: &Path) -> Self {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_host::host_process", "--nocapture"])
            .env(HOME, home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new("starts".to_owned()));
        let (lines, says) = (process.stdout.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                if let Some(phase) = line.strip_prefix(PHASE) {
                    *says.lock().unwrap_or_else(PoisonError::into_inner) = phase.to_owned();
                }
            }
        });
        Self { process, said }
    }

    fn said(&self) -> String {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until it has done everything; tells how long that took.
    fn whole_life(&mut self) -> Duration {
        let start = Instant::now();
        while self.said() != ENDED {
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the host process failed when it {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        start.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether a machine's memory is being written to a file, beneath the data directory in `home`.
fn stores(home: &Path) -> bool {
    let snapshots = std::fs::read_dir(data(home).join("microvm/snapshots"));
    let mut aside = snapshots
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(".new-"));
    aside.any(|entry| {
        let memory = std::fs::metadata(entry.path().join("memory"));
        memory.is_ok_and(|memory| memory.len() > 0)
    })
}

/// What the host is doing.
fn doing(running: &Running, home: &Path) -> String {
    let said = running.said();
    let machines = machines();
    if machines > 0 && said == "prepares" && stores(home) {
        return "prepares, with a machine that is being stored".into();
    }
    match machines {
        0 => said,
        _ => format!("{said}, with a machine"),
    }
}

/// Kills `count` hosts in homes that `home` gives, each within `life` of its start, and looks at what
/// is left; counts them by what they were doing.
fn kill_some(
    count: usize,
    life: Duration,
    dice: &mut Dice,
    killed: &mut BTreeMap<String, usize>,
    home: impl Fn() -> (PathBuf, Option<Site>),
) -> Duration {
    let mut slowest = Duration::ZERO;
    for number in 0..count {
        let (path, _fresh) = home();
        let before = Host::now();
        let mut running = Running::start(&path);
        // Of every second one the later half, in which its machine is.
        let micros = u64::try_from(life.as_micros()).unwrap();
        let moment = match number % 2 {
            0 => dice.below(micros),
            _ => micros / 2 + dice.below(micros / 2),
        };
        std::thread::sleep(Duration::from_micros(moment));
        let doing = doing(&running, &path);
        running.process.kill().unwrap();
        running.process.wait().unwrap();
        let when = format!("host {number}, killed when it {doing}");
        slowest = slowest.max(before.nothing_came(&when));
        *killed.entry(doing).or_default() += 1;
    }
    slowest
}

#[test]
fn a_host_process_killed_at_any_moment_leaves_nothing() {
    let site = Site::new();
    let fresh = || {
        let site = Site::new();
        (site.path().to_owned(), Some(site))
    };
    let mut dice = Dice::new();
    let start = Instant::now();
    // How long each lives, and what the first ones leave: a snapshot for the others.
    let mut lives = Vec::new();
    for _ in 0..2 {
        let before = Host::now();
        let mut running = Running::start(site.path());
        lives.push(running.whole_life());
        drop(running);
        before.nothing_came("a host that has done everything");
    }
    let mut killed = BTreeMap::new();
    let cold = kill_some(COLD, lives[0], &mut dice, &mut killed, fresh);
    let warm = || (site.path().to_owned(), None);
    let warm = kill_some(WARM, lives[1], &mut dice, &mut killed, warm);
    let mut told = String::new();
    for (doing, count) in &killed {
        let _ = writeln!(told, "{count:3} when it {doing}");
    }
    println!(
        "{} hosts killed in {:?}, of lives of {:?}; the slowest was clear after {:?}:\n{told}",
        COLD + WARM,
        start.elapsed(),
        lives,
        cold.max(warm)
    );
    let with_machine = killed.iter().filter(|(doing, _)| doing.contains("machine"));
    let with_machine: usize = with_machine.map(|(_, count)| count).sum();
    assert!(
        with_machine > 15,
        "the kills came when no machine ran:\n{told}"
    );
    // What was there is as good as before.
    block_on(async { ask(&site.engine(), None).await });
}
