//! The host process is killed in the middle of everything. It is this program, started again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use axo_core::Policy;
use axo_session::agent::Run;
use axo_session::agent::proto::files::How;
use axo_session::agent::proto::{Position, ProcessId, Size, State as ProcessState, Status};
use axo_session::agent::{Process, ProcessEvent};
use axo_session::{SessionId, Sessions, State};

use crate::site::{Site, config_under, eventually, hear, says, shell, site};

const HOME: &str = "AXO_TEST_SESSION_HOME";
const SESSION: &str = "AXO_TEST_SESSION";
const BEGUN: &str = "everything begins";
const LINES: usize = 40;
const KILLS: u32 = 6;
/// What a process that ends with its caller is called.
const BOUND: &[u8] = b"bound to its caller";

/// Not a test: the host process. Started without its variables, it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn host_process() {
    let (Ok(home), Ok(id)) = (std::env::var(HOME), std::env::var(SESSION)) else {
        return;
    };
    let config = config_under(Path::new(&home), Policy::default());
    let sessions = Sessions::open(config.clone()).unwrap();
    let session = sessions.find(&id).await.unwrap();

    let count =
        format!("i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); sleep 0.05; done");
    let background = Run::new(["/bin/sh", "-c", &count]).in_background();
    let background = session.run(background).await.unwrap().id();
    let size = Size {
        rows: 24,
        columns: 80,
    };
    let terminal = Run::new(["/bin/sh"]).in_terminal(size);
    let terminal = session.run(terminal).await.unwrap();
    let at = terminal.id();
    let (mut output, mut input) = terminal.split();
    let remember = format!("x={}; echo is-$x-set\n", at.0);
    input.write(remember.as_bytes()).await.unwrap();
    hear(&mut output, &format!("is-{}-set\r\n", at.0)).await;
    let mut bound = Run::new(["/bin/sleep", "600"]);
    bound.label = BOUND.to_owned();
    let bound = session.run(bound).await.unwrap();

    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\n{BEGUN}:{}:{}", background.0, at.0).unwrap();
    stdout.flush().unwrap();
    drop(stdout);

    let commands = async {
        loop {
            assert_eq!(says(&session, "sleep 0.01; echo said").await, "said\n");
        }
    };
    let writing = async {
        let files = session.files("/tmp").unwrap();
        loop {
            let bytes = vec![7; 3 << 20];
            let how = How::Replace;
            let written = files.write("written", how, None, &mut &bytes[..]).await;
            assert_eq!(written.unwrap(), bytes.len() as u64);
            assert!(files.read_to_vec("written", 4 << 20).await.unwrap() == bytes);
        }
    };
    let making = async {
        let mut made = Vec::new();
        loop {
            made.push(crate::site::create_in(&config, &sessions).await);
        }
    };
    tokio::join!(commands, writing, making, hear(&mut output, "never"));
    drop(bound);
}

struct Host {
    process: Child,
    background: ProcessId,
    terminal: ProcessId,
}

impl Host {
    /// Starts one, and waits until it is in the middle of everything.
    #[expect(
        clippy::disallowed_methods,
        reason = "the host process is one of its own"
    )]
    fn start(site: &Site, id: &SessionId) -> Self {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_host::host_process", "--nocapture"])
            .env(HOME, site.path())
            .env(SESSION, id.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let begun = lines
            .map_while(Result::ok)
            .find(|line| line.starts_with(BEGUN))
            .expect("the host process ended");
        let numbers: Vec<u64> = begun
            .split(':')
            .skip(1)
            .map(|number| number.parse().unwrap())
            .collect();
        Self {
            process,
            background: ProcessId(numbers[0]),
            terminal: ProcessId(numbers[1]),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// All that a process writes to its end.
async fn written(process: &mut Process) -> (Vec<u8>, Status) {
    let mut heard = Vec::new();
    loop {
        match process.next().await.unwrap() {
            Some(ProcessEvent::Output(bytes)) => heard.extend_from_slice(bytes),
            Some(ProcessEvent::Exited(exited)) => return (heard, exited.status),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_process_killed_in_the_middle_of_everything_costs_nothing_that_should_stay() {
    let site = site();
    let id = site.session(&site.sessions()).await.record().id;
    for number in 0..KILLS {
        let mut host = Host::start(&site, &id);
        // Spread over the time in which a session is made.
        std::thread::sleep(Duration::from_millis(u64::from(number) * 230));
        host.process.kill().unwrap();
        host.process.wait().unwrap();
        let killed = Instant::now();

        let sessions = site.sessions();
        let (all, damaged) = sessions.list().await.unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        let session = all
            .iter()
            .find(|session| session.record().id == id)
            .expect("the session is not listed");
        assert_eq!(session.record().state, State::Ready);
        println!("kill {number}: adopted after {:?}", killed.elapsed());

        let mut process = session
            .attach(host.background, Position::Start, false)
            .await
            .unwrap();
        assert_eq!(process.lost(), 0);
        let (heard, status) = written(&mut process).await;
        let lines: String = (0..LINES).map(|line| format!("line {line}\n")).collect();
        assert_eq!(String::from_utf8(heard).unwrap(), lines);
        assert_eq!(status, Status::Code(0));

        let terminal = session
            .attach(host.terminal, Position::Start, true)
            .await
            .unwrap();
        let (mut output, mut input) = terminal.split();
        input.write(b"echo still-$x-here\n").await.unwrap();
        hear(&mut output, &format!("still-{}-here\r\n", host.terminal.0)).await;
        drop((output, input));

        eventually("what was bound to its caller ends with it", async || {
            let all = session.processes().await.unwrap();
            let bound: Vec<_> = all.iter().filter(|one| one.label == BOUND).collect();
            assert!(!bound.is_empty());
            bound.iter().all(|one| one.state != ProcessState::Running)
        })
        .await;
        // A file that was being written is the one before or the one after.
        let size = shell(session, "[ ! -e /tmp/written ] || wc -c < /tmp/written").await;
        let size = String::from_utf8(size.stdout).unwrap();
        assert!(["", "3145728\n"].contains(&size.as_str()), "{size}");
        assert_eq!(
            says(session, "ls -A /tmp | grep -v ^written$ || true").await,
            ""
        );

        // What it was making is ready, or over and gone; what was ready is another session.
        for other in all {
            match (other.record().id == id, other.record().state) {
                (true, _) => {}
                (false, State::Ready) => sessions.remove(&other).await.unwrap(),
                (false, state) => assert!(state.is_end(), "{state:?} {:?}", other.record().why),
            }
        }
        assert_eq!(site.containers(), [id.container()]);
        assert_eq!(site.socket_directories(), [id.as_str()]);
    }
    let sessions = site.sessions();
    sessions
        .remove(&sessions.find(id.as_str()).await.unwrap())
        .await
        .unwrap();
    let left = sessions.gc(false).await.unwrap();
    assert!(left.failed.is_empty(), "{left:?}");
    assert!(site.containers().is_empty());
    assert!(site.socket_directories().is_empty());
}
