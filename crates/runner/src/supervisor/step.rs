//! What was being done when something failed.

use std::error::Error;

use axo_runner::Fault;

/// A failure, for the engine to tell.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) doing: String,
    pub(crate) why: String,
    pub(crate) fault: Fault,
}

impl Failed {
    pub(crate) fn new(doing: &str, why: impl Into<String>) -> Self {
        Self {
            doing: doing.to_owned(),
            why: why.into(),
            fault: Fault::Host,
        }
    }

    /// The same, where something else than the host is at fault.
    pub(crate) fn by(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }
}

/// Names the step of a result.
pub(crate) trait Step<T> {
    fn step(self, doing: &str) -> Result<T, Failed>;
}

impl<T, E: Error> Step<T> for Result<T, E> {
    fn step(self, doing: &str) -> Result<T, Failed> {
        self.map_err(|error| {
            let mut why = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                // Libcontainer's errors often repeat their cause.
                let cause_text = cause.to_string();
                if !why.contains(&cause_text) {
                    why = format!("{why}: {cause_text}");
                }
                source = cause.source();
            }
            Failed::new(doing, why)
        })
    }
}
