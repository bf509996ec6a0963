//! What the library has to say while it works: warnings as lines, compiling as a spinner.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use crate::printer::say;

/// Code from this size on takes long enough to compile that waiting wants an explanation, in bytes.
const LONG_COMPILE_BYTES: u64 = 512 << 10;

/// The spinner, while something takes long. Whoever writes to the terminal clears it first.
static SPINNER: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Progress bars, which draw themselves again.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// From here on `bars` are taken off the terminal before something else is written there.
pub(crate) fn give_way(bars: MultiProgress) {
    *BARS.lock().unwrap_or_else(PoisonError::into_inner) = Some(bars);
}

/// Takes the spinner and the bars off the terminal.
pub(crate) fn clear() {
    let bars = BARS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(bars) = &*bars {
        // Where they cannot be cleared, nothing can be written either.
        let _ = bars.clear();
    }
    drop(bars);
    let spinner = SPINNER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
}

/// Shows the events of our own crates on standard error.
struct Notices;

/// Starts showing what the library says.
pub(crate) fn show() {
    // Only the first of a process is kept; there is only one.
    let _ = tracing::subscriber::set_global_default(Notices);
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
        if *event.metadata().level() != Level::INFO {
            say("warning: ", &text.line());
            return;
        }
        if text.bytes >= LONG_COMPILE_BYTES {
            let spinner = ProgressBar::new_spinner().with_message(text.line());
            spinner.enable_steady_tick(Duration::from_millis(100));
            *SPINNER.lock().unwrap_or_else(PoisonError::into_inner) = Some(spinner);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The message of an event, its fields, and the field `bytes`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    bytes: u64,
}

impl Text {
    fn line(&self) -> String {
        format!("{}{}", self.message, self.fields)
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " ({} {value:?})", field.name())
        };
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "bytes" {
            self.bytes = value;
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{}", crate::convert::chain(value)));
    }
}
