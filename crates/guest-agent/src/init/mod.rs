//! The first process of a machine. Nothing is there but the kernel, this program, the runner of
//! containers, modules of the kernel, and disks: what makes that a place where a container can be,
//! reads top to bottom.
//!
//! A step that fails is said in one line on the console, and the machine ends.

mod console;
mod disks;
mod modules;
mod mounts;
mod root;
mod step;

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use axo_guest_proto::machine::PORT;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getpid, setrlimit, umask};
use rustix::system::{RebootCommand, reboot};
use rustix::termios::tcdrain;

use crate::agent::{Agent, Standing};
use crate::idle::Times;
use crate::listener::Listener;
use crate::surroundings::Surroundings;
use crate::tool::{Site, Slot};
use crate::{say, serve, surroundings, vsock};
use step::{Failed, Step as _};

/// The runner of containers, in the initramfs.
const RUNNER: &str = "/axo-runner";

/// Open files that a process may have: what the kernel allows one at most. A tool's own limit is
/// the host's to say; this is what that may not be above.
const MOST_FILES: u64 = 1 << 20;

/// Answers only where it is not the first process of a machine.
pub(crate) fn run() -> ExitCode {
    if !getpid().is_init() {
        say("init: only the first process of a machine can be this");
        return ExitCode::from(2);
    }
    match make_ready() {
        Ok(ready) => {
            say("ready");
            let served = serve_host(ready);
            console::come_back();
            say(&served.unwrap_or_else(|failed| failed.to_string()));
        }
        Err(failed) => say(&failed.to_string()),
    }
    end_machine()
}

/// What a machine that is ready serves with.
struct Ready {
    surroundings: Surroundings,
    site: Site,
    socket: OwnedFd,
}

fn make_ready() -> Result<Ready, Failed> {
    umask(Mode::from_raw_mode(0o022));
    raise_files().step("limits")?;
    // Before anything is opened.
    let surroundings = surroundings::settle(None);
    // Everything else is mounted on it.
    root::bind_over_itself()?;
    mounts::mount_all()?;
    // The drivers of disks and vsock are among them.
    modules::load_all()?;
    let files = disks::mount_all()?;
    let socket = vsock::listen_on(PORT).step("listening")?;
    let site = Site {
        runner: RUNNER.into(),
        image: disks::IMAGE.into(),
        files,
    };
    Ok(Ready {
        surroundings,
        site,
        socket,
    })
}

/// As in a sandbox, from here on.
fn serve_host(ready: Ready) -> Result<String, Failed> {
    console::leave().step("console")?;
    let slot = Slot::new(Some(ready.site));
    let agent = Agent::new(ready.surroundings, slot, Standing::Machine);
    let listen = || Listener::of_machine(ready.socket);
    serve::until_the_end(agent, listen, Times::default()).step("serving")
}

fn raise_files() -> rustix::io::Result<()> {
    let most = Rlimit {
        current: Some(MOST_FILES),
        maximum: Some(MOST_FILES),
    };
    setrlimit(Resource::Nofile, most)
}

/// Firecracker ends with its machine's restart. There is nothing to be written to a disk first.
fn end_machine() -> ExitCode {
    // What was said last is still on its way.
    let _ = tcdrain(rustix::stdio::stderr());
    let _ = reboot(RebootCommand::Restart);
    // The kernel panics without us, and restarts.
    ExitCode::FAILURE
}
