//! What was being done when making the machine ready failed.

use std::fmt::Display;

/// One line for the console.
#[derive(Debug)]
pub(super) struct Failed(String);

impl Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Says which step it was that failed.
pub(super) trait Step<T> {
    fn step(self, step: impl Display) -> Result<T, Failed>;
}

impl<T, E: Display> Step<T> for Result<T, E> {
    fn step(self, step: impl Display) -> Result<T, Failed> {
        self.map_err(|e| Failed(format!("{step}: {e}")))
    }
}
