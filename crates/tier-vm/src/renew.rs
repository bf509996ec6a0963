//! Renewing a machine: what it knows of time and randomness is as old as what it was restored from.

use std::io;
use std::time::{Duration, SystemTime};

use axo_guest_proto::machine::PORT;
use axo_guest_proto::{Renew, Request};
use tokio::time::{sleep, timeout};

use crate::agent::{AgentError, Operation};
use crate::failed::Failed;
use crate::machine::Machine;

/// How long after a connection that the guest has given up the next one is made.
const PAUSE: Duration = Duration::from_millis(2);

/// Tells the guest the time, and new randomness. Before it nothing of a tool may run.
pub(crate) async fn renew(machine: &Machine, within: Duration) -> Result<(), Failed> {
    let mut seed = vec![0; Renew::SEED_BYTES];
    getrandom(&mut seed).map_err(Failed::files("drawing randomness"))?;
    let renewed = async {
        loop {
            let stream = machine.connect(PORT, within).await?;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let request = Request::Renew(Renew {
                now_nanos: u64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX),
                seed: seed.clone(),
            });
            match Operation::done(stream, &request, within).await {
                // The guest learns that its connections are gone a moment after it has gone on,
                // and takes this one for one of them.
                Err(AgentError::Broken(_)) => sleep(PAUSE).await,
                done => return done.map_err(Failed::from),
            }
        }
    };
    let late = Failed::from(AgentError::Late(within));
    timeout(within, renewed).await.unwrap_or(Err(late))
}

fn getrandom(seed: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < seed.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut seed[filled..], flags)?;
    }
    Ok(())
}
