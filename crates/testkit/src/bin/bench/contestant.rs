//! Who does the same work, in turns.

use std::time::Duration;

use crate::sample::{Report, Sample};

/// Runs of each in a round.
const BATCH: usize = 10;

/// One way to have the work done.
pub(crate) struct Contestant<'a> {
    name: &'static str,
    runs: usize,
    run: Box<dyn Fn() -> anyhow::Result<Duration> + 'a>,
    /// What installs it, if it is a peer.
    install: Option<&'static str>,
    times: Vec<Duration>,
    /// Runs that failed, and how the last one did.
    failed: usize,
    why: Option<anyhow::Error>,
}

impl<'a> Contestant<'a> {
    pub(crate) fn ours(
        name: &'static str,
        run: impl Fn() -> anyhow::Result<Duration> + 'a,
    ) -> Self {
        Self {
            name,
            runs: BATCH,
            run: Box::new(run),
            install: None,
            times: Vec::new(),
            failed: 0,
            why: None,
        }
    }

    /// One that is not ours: what `install` installs.
    pub(crate) fn peer(
        name: &'static str,
        install: &'static str,
        run: impl Fn() -> anyhow::Result<Duration> + 'a,
    ) -> Self {
        Self {
            install: Some(install),
            ..Self::ours(name, run)
        }
    }

    /// With so many runs in a round.
    pub(crate) fn runs(mut self, runs: usize) -> Self {
        self.runs = runs;
        self
    }

    /// Its turn in a round.
    fn take_turn(&mut self) -> anyhow::Result<()> {
        // One that mostly fails is not worth the time it takes to fail.
        if self.failed > self.runs {
            return Ok(());
        }
        for _ in 0..self.runs {
            match (self.run)() {
                Ok(took) => self.times.push(took),
                Err(error) if self.install.is_none() => return Err(error.context(self.name)),
                Err(error) => {
                    self.failed += 1;
                    self.why = Some(error);
                }
            }
        }
        Ok(())
    }
}

/// Lets all take turns for so many rounds, so that all of them see the same machine.
pub(crate) fn compete(
    mut all: Vec<Contestant<'_>>,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    for _ in 0..rounds {
        for contestant in &mut all {
            contestant.take_turn()?;
        }
    }
    for contestant in all {
        if let (Some(why), Some(install)) = (contestant.why, contestant.install) {
            report.remarks.push(format!(
                "{} runs of {} failed and are not counted: {why:#}. What installs it: {install}",
                contestant.failed, contestant.name
            ));
        }
        if !contestant.times.is_empty() {
            report
                .samples
                .push(Sample::new(contestant.name, contestant.times));
        }
    }
    Ok(())
}
