//! Ending when nobody has been there for too long, or at an age.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::agent::{Agent, End};

/// What processes are given that nobody waits for.
const GRACE: Duration = Duration::from_secs(5);

/// When it ends; none is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// When no connection was open for this long.
    pub(crate) idle: Option<Duration>,
    /// At this age.
    pub(crate) total: Option<Duration>,
}

pub(crate) async fn watch(agent: Rc<Agent>, Times { idle, total }: Times) {
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
