//! After a machine was restored from a snapshot: its clock stood still, and its random numbers are
//! those of every other machine that was restored from it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use axo_guest_proto::{Code, Failure, Renew};
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::agent::Agent;

const NANOS: u64 = 1_000_000_000;

pub(crate) fn renew(agent: &Agent, renew: &Renew) -> Result<(), Failure> {
    if !agent.is_of_machine() {
        let why = "this agent is not the first process of a machine";
        return Err(Failure::new(Code::Denied, None, why));
    }
    let failed = |doing: &'static str| {
        move |e: io::Error| Failure::new(Code::Io, e.raw_os_error(), format!("{doing}: {e}"))
    };
    // First, as everything that is asked for random numbers from here on gets new ones.
    reseed(&renew.seed).map_err(failed("seeding the random numbers"))?;
    set_clock(renew.now_nanos).map_err(failed("setting the clock"))
}

fn set_clock(now_nanos: u64) -> io::Result<()> {
    let number = |nanos: u64| i64::try_from(nanos).map_err(io::Error::other);
    let now = Timespec {
        tv_sec: number(now_nanos / NANOS)?,
        tv_nsec: number(now_nanos % NANOS)?,
    };
    Ok(clock_settime(ClockId::Realtime, now)?)
}

/// `RNDADDENTROPY` of <linux/random.h>: `_IOW('R', 0x03, int [2])`.
const ADD_ENTROPY: libc::Ioctl = 0x4008_5203;
/// `RNDRESEEDCRNG`: `_IO('R', 0x07)`.
const RESEED: libc::Ioctl = 0x5207;

/// `struct rand_pool_info`, with room for a seed.
#[repr(C)]
struct Pool {
    /// How much nobody can guess of it, in bits.
    entropy_bits: libc::c_int,
    bytes: libc::c_int,
    seed: [u8; Renew::SEED_BYTES],
}

/// Adds to the kernel's pool, and has its generators drawn from it anew.
#[expect(unsafe_code, reason = "there is no safe interface to the pool")]
fn reseed(seed: &[u8]) -> io::Result<()> {
    let seed = seed.try_into().map_err(io::Error::other)?;
    let bytes = i32::try_from(Renew::SEED_BYTES).map_err(io::Error::other)?;
    let pool = Pool {
        entropy_bits: 8 * bytes,
        bytes,
        seed,
    };
    let random = File::options().write(true).open("/dev/urandom")?;
    // SAFETY: the structure is that of the request, says how long it is, and outlives the call.
    done(unsafe { libc::ioctl(random.as_raw_fd(), ADD_ENTROPY, &raw const pool) })?;
    // SAFETY: the request takes nothing.
    done(unsafe { libc::ioctl(random.as_raw_fd(), RESEED) })
}

fn done(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
