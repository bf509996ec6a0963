//! Ending when nobody has been there for too long, or at an age.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::agent::{Agent, End};

/// What processes are given that nobody waits for.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) async fn watch(agent: Rc<Agent>, idle: Option<Duration>, total: Option<Duration>) {
    loop {
        let now = Instant::now();
        let age = total.map(|total| (agent.started + total, total, "running"));
        let alone = idle.map(|idle| (agent.alone_since().unwrap_or(now) + idle, idle, "idle"));
        let Some((due, time, what)) = age.into_iter().chain(alone).min() else {
            return;
        };
        if due <= now {
            return agent.end(End {
                why: format!("{what} for {} s", time.as_secs()),
                grace: GRACE,
            });
        }
        sleep_until(due).await;
    }
}
