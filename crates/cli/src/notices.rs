//! What the library has to say while it works: warnings as lines, compiling as a spinner.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::printer::say;

/// Shows the events of our own crates on standard error.
struct Notices {
    spinner: Mutex<Option<ProgressBar>>,
}

/// Starts showing what the library says.
pub(crate) fn show() {
    // Only the first of a process is kept; there is only one.
    let _ = tracing::subscriber::set_global_default(Notices {
        spinner: Mutex::new(None),
    });
}

impl Subscriber for Notices {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("axo");
        let level = metadata.level();
        ours && metadata.is_event()
            && (*level <= Level::WARN || (*level == Level::INFO && std::io::stderr().is_terminal()))
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let mut spinner = self.spinner.lock().unwrap_or_else(PoisonError::into_inner);
        if *event.metadata().level() == Level::INFO {
            // It clears itself when the process has something else to write, or ends.
            let bar = ProgressBar::new_spinner().with_message(text.0);
            bar.set_style(ProgressStyle::default_spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            *spinner = Some(bar);
            return;
        }
        if let Some(bar) = spinner.take() {
            bar.finish_and_clear();
        }
        say("warning: ", &text.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The message of an event, then its fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = if field.name() == "message" {
            let rest = std::mem::take(&mut self.0);
            write!(self.0, "{value:?}{rest}")
        } else {
            write!(self.0, " ({} {value:?})", field.name())
        };
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{}", crate::convert::chain(value)));
    }
}
