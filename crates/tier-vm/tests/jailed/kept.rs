//! A machine that may be kept: it outlives who had it made, ends when it is told to or when its time is
//! over, and leaves nothing.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axo_tier_vm::machine::{Ending, Keeper, KeeperError, Keeping, Machine, MachineError};
use tempfile::TempDir;

use crate::support::{Made, Traces, kill, lives};
use tokio::io::AsyncReadExt as _;

/// Where the maker that is killed has the keeper listen.
const PLACE: &str = "AXO_TEST_KEEPER";
/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// A machine that may be kept, with its keeper in `place`.
async fn boot_kept(place: &Path, mode: &str, total: Duration) -> (Machine, Traces, Keeper) {
    let made = Made::new();
    let traces = Traces::of(made.id.clone());
    let guest = made.guest(mode);
    let keeping = Keeping::in_directory(place, total).unwrap();
    let machine = Machine::boot_kept(made.config, &guest, keeping).await;
    let keeper = Keeper::in_directory(place.to_owned());
    (machine.unwrap(), traces, keeper)
}

fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn gone(keeper: &Keeper) {
    while keeper.keeps().await.unwrap() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Makers of their own, which tests kill.
#[tokio::test]
#[ignore = "a part of other tests"]
async fn a_maker_that_leaves_it() {
    let place = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let (machine, traces, _) = boot_kept(&place, "good", LONG).await;
    machine.leave().await.unwrap();
    println!("\nmachine {}", traces.id());
    std::future::pending::<()>().await;
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn a_maker_that_does_not() {
    let place = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let (_machine, traces, _) = boot_kept(&place, "good", LONG).await;
    println!("\nmachine {}", traces.id());
    std::future::pending::<()>().await;
}

/// Starts one, and kills it when its machine runs.
fn killed_maker(name: &str, place: &Path) -> Traces {
    #[expect(clippy::disallowed_methods, reason = "a maker to be killed")]
    let mut maker = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(PLACE, place)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(maker.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    let id = lines.find_map(|line| line.strip_prefix("machine ").map(str::to_owned));
    let traces = Traces::of(id.unwrap());
    maker.kill().unwrap();
    maker.wait().unwrap();
    traces
}

#[tokio::test]
async fn it_outlives_its_maker_and_ends_when_it_is_asked_to() {
    let place = place();
    let traces = killed_maker("kept::a_maker_that_leaves_it", place.path());
    let keeper = Keeper::in_directory(place.path().to_owned());
    assert!(keeper.keeps().await.unwrap());
    let runner = traces.line()[2];
    assert!(lives(runner));
    // It has nothing of the maker's, and is in nobody's session.
    for stream in 0..3 {
        let stream = std::fs::read_link(format!("/proc/{runner}/fd/{stream}")).unwrap();
        assert_eq!(stream, Path::new("/dev/null"));
    }
    let stat = std::fs::read_to_string(format!("/proc/{runner}/stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, runner.to_string());
    // Several at once ask for the end, and each hears it.
    let ends = (0..8).map(|_| {
        let keeper = keeper.clone();
        tokio::spawn(async move { keeper.end().await })
    });
    for end in ends.collect::<Vec<_>>() {
        end.await.unwrap().unwrap();
    }
    assert!(traces.cgroups().is_empty());
    traces.vanish();
    assert!(!keeper.keeps().await.unwrap());
    keeper.end().await.unwrap();
    assert_eq!(keeper.ending(), Ending::Asked);
    assert!(matches!(keeper.connect(5000).await, Err(KeeperError::Gone)));
}

#[tokio::test]
async fn before_its_maker_has_left_it_it_ends_with_it() {
    let place = place();
    let traces = killed_maker("kept::a_maker_that_does_not", place.path());
    traces.vanish();
    let keeper = Keeper::in_directory(place.path().to_owned());
    assert!(!keeper.keeps().await.unwrap());
    assert!(matches!(keeper.ending(), Ending::Otherwise(_)));
}

#[tokio::test]
async fn it_ends_when_its_time_is_over_left_or_not() {
    for leaves in [true, false] {
        let place = place();
        let total = Duration::from_secs(2);
        let (machine, traces, keeper) = boot_kept(place.path(), "good", total).await;
        let machine = match leaves {
            true => {
                machine.leave().await.unwrap();
                None
            }
            false => Some(machine),
        };
        gone(&keeper).await;
        assert_eq!(keeper.ending(), Ending::TotalTime);
        drop(machine);
        traces.vanish();
    }
}

#[tokio::test]
async fn its_guest_is_reached_through_its_keeper_whatever_it_writes() {
    let place = place();
    let (machine, traces, keeper) = boot_kept(place.path(), "floods", LONG).await;
    machine.leave().await.unwrap();
    for _ in 0..3 {
        let mut stream = keeper.connect(5001).await.unwrap();
        let mut first = [0; 11];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first bytes");
    }
    keeper.end().await.unwrap();
    traces.vanish();
    // What answers nothing of Firecracker's is not spoken with.
    let place = self::place();
    let (machine, traces, keeper) = boot_kept(place.path(), "lies", LONG).await;
    machine.leave().await.unwrap();
    let lied = keeper.connect(5001).await;
    assert!(matches!(lied, Err(KeeperError::Lied)), "{lied:?}");
    keeper.end().await.unwrap();
    traces.vanish();
}

#[tokio::test]
async fn a_guest_that_is_busy_is_asked_again() {
    let place = place();
    let (machine, traces, keeper) = boot_kept(place.path(), "slow guest", LONG).await;
    machine.leave().await.unwrap();
    keeper.connect(5001).await.unwrap();
    keeper.end().await.unwrap();
    traces.vanish();
}

#[tokio::test]
async fn a_guest_that_goes_is_told_with_its_last_words() {
    let place = place();
    let (machine, traces, keeper) = boot_kept(place.path(), "goes", LONG).await;
    machine.leave().await.unwrap();
    let gone = keeper.connect(5001).await;
    assert!(matches!(gone, Err(KeeperError::Gone)), "{gone:?}");
    let Ending::Itself(last) = keeper.ending() else {
        panic!("{:?}", keeper.ending());
    };
    assert!(last.ends_with("its last words"), "{last}");
    traces.vanish();
}

#[tokio::test]
async fn how_it_ended_is_told_to_who_comes_later() {
    let place = place();
    let (machine, traces, keeper) = boot_kept(place.path(), "good", LONG).await;
    machine.leave().await.unwrap();
    let [firecracker, ..] = traces.line();
    kill(firecracker);
    gone(&keeper).await;
    let Ending::Otherwise(how) = keeper.ending() else {
        panic!("{:?}", keeper.ending());
    };
    assert!(how.contains("signal 9"), "{how}");
    traces.vanish();
}

#[tokio::test]
async fn a_killed_keeper_takes_its_machine_along() {
    let place = place();
    let (machine, traces, keeper) = boot_kept(place.path(), "good", LONG).await;
    machine.leave().await.unwrap();
    kill(traces.line()[2]);
    gone(&keeper).await;
    let Ending::Otherwise(how) = keeper.ending() else {
        panic!("{:?}", keeper.ending());
    };
    assert!(how.contains("killed"), "{how}");
    // Its cgroup is left, which whoever removes the session removes.
    while !traces.processes().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for cgroup in traces.cgroups() {
        // The kernel keeps it busy for a moment.
        while std::fs::remove_dir(&cgroup).is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn one_that_has_ended_cannot_be_left() {
    let place = place();
    let (machine, traces, keeper) = boot_kept(place.path(), "good", LONG).await;
    keeper.end().await.unwrap();
    let error = machine.leave().await.unwrap_err();
    assert!(
        matches!(
            error,
            MachineError::Ended { .. } | MachineError::Runner { .. }
        ),
        "{error}"
    );
    traces.vanish();
}

#[tokio::test]
async fn whoever_says_nothing_or_nonsense_keeps_nobody_waiting() {
    let place = place();
    let (machine, traces, keeper) = boot_kept(place.path(), "good", LONG).await;
    machine.leave().await.unwrap();
    // As many as are heard at once but one.
    let silent: Vec<_> = (0..15).map(|_| connect(place.path())).collect();
    for _ in 0..50 {
        let odd = connect(place.path());
        rustix::io::write(&odd, b"{").unwrap();
    }
    assert!(keeper.keeps().await.unwrap());
    drop(silent);
    keeper.end().await.unwrap();
    traces.vanish();
}

/// A connection to a keeper that has said nothing yet.
fn connect(place: &Path) -> std::os::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    let address = SocketAddrUnix::new(place.join("keeper.sock")).unwrap();
    connect(&socket, &address).unwrap();
    socket
}
