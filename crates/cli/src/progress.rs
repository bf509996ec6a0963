//! Progress bars of what takes long, on standard error, where that is a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use axocoatl_isolation::images::{Progress, Silent, Step};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::notices;
use crate::terminal::neutralise;

/// A piece of work whose size is known.
const BAR: &str = "{msg:30} [{bar:30}] {bytes:>11} of {total_bytes:>11} {binary_bytes_per_sec}";
/// One whose size is not.
const SPINNER: &str = "{msg:30} {spinner} {bytes}";
/// Longest text before a bar, in characters.
const MAX_TEXT: usize = 30;
/// How often a bar moves although nothing came.
const TICK: Duration = Duration::from_millis(120);

/// A bar for each piece of work; none where nobody sees them.
pub(crate) struct Bars(Option<MultiProgress>);

impl Bars {
    pub(crate) fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        if let Some(bars) = &bars {
            notices::give_way(bars.clone());
        }
        Self(bars)
    }
}

impl Progress for Bars {
    fn begin(&self, what: &str, total: Option<u64>) -> Box<dyn Step + '_> {
        let Some(bars) = &self.0 else {
            return Box::new(Silent);
        };
        let bar = match total {
            Some(bytes) => ProgressBar::new(bytes).with_style(style(BAR)),
            None => ProgressBar::new_spinner().with_style(style(SPINNER)),
        };
        let bar = bars.add(bar.with_message(shown(what)));
        bar.enable_steady_tick(TICK);
        Box::new(Bar(bar))
    }
}

/// The bar of one piece of work. It goes with it.
struct Bar(ProgressBar);

impl Step for Bar {
    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// It may have names from the image in it.
fn shown(what: &str) -> String {
    let line: String = what.chars().take(MAX_TEXT).collect();
    neutralise(&line.replace(['\n', '\t'], " ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_templates_are_templates() {
        for template in [BAR, SPINNER] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn what_stands_before_a_bar_is_one_short_line() {
        assert_eq!(shown("a\n\u{1b}[2J"), "a \\u001b[2J");
        assert_eq!(shown(&"x".repeat(100)).len(), MAX_TEXT);
    }
}
