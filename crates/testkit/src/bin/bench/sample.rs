//! Samples of times, and a report of what they come to.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// Times of the same work.
pub(crate) struct Sample {
    name: String,
    times: Vec<Duration>,
}

impl Sample {
    pub(crate) fn new(name: impl Into<String>, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self {
            name: name.into(),
            times,
        }
    }

    /// The time below which `share` of the sample lies.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index rounded to the nearest sample"
        )]
        let at = (last as f64 * share).round() as usize;
        self.times.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.quantile(0.5)
    }
}

/// A budget of design §7 and what was measured against it.
pub(crate) struct Verdict {
    pub(crate) what: String,
    /// `None` if it could not be measured, which a remark explains.
    pub(crate) measured: Option<f64>,
    pub(crate) bound: f64,
    /// Whether the measured value must be at most, or at least, the bound.
    pub(crate) at_most: bool,
}

impl Verdict {
    fn is_met(&self) -> Option<bool> {
        self.measured.map(|measured| {
            if self.at_most {
                measured <= self.bound
            } else {
                measured >= self.bound
            }
        })
    }
}

/// What a suite measured.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) samples: Vec<Sample>,
    /// Calls a second.
    pub(crate) rates: Vec<(String, f64)>,
    /// Memory, in MiB.
    pub(crate) sizes: Vec<(String, f64)>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) remarks: Vec<String>,
}

impl Report {
    /// The median of one sample by that of another, if both are there.
    pub(crate) fn ratio(&self, one: &str, other: &str) -> Option<f64> {
        self.ratio_at(0.5, one, other)
    }

    /// The same for the time below which `share` of each sample lies.
    pub(crate) fn ratio_at(&self, share: f64, one: &str, other: &str) -> Option<f64> {
        let quantile = |name: &str| {
            let sample = self.samples.iter().find(|sample| sample.name == name)?;
            Some(sample.quantile(share).as_secs_f64())
        };
        Some(quantile(one)? / quantile(other)?)
    }

    pub(crate) fn to_json(&self) -> Value {
        let micros = |d: Duration| d.as_secs_f64() * 1e6;
        json!({
            "samples": self.samples.iter().map(|s| json!({
                "name": s.name, "runs": s.times.len(),
                "median_us": micros(s.median()), "p99_us": micros(s.quantile(0.99)), "least_us": micros(s.quantile(0.0)),
            })).collect::<Vec<_>>(),
            "rates": self.rates.iter().map(|(name, rate)| json!({"name": name, "calls_per_second": rate})).collect::<Vec<_>>(),
            "sizes": self.sizes.iter().map(|(name, size)| json!({"name": name, "mib": size})).collect::<Vec<_>>(),
            "budgets": self.verdicts.iter().map(|v| json!({
                "what": v.what, "measured": v.measured, "bound": v.bound, "at_most": v.at_most, "met": v.is_met(),
            })).collect::<Vec<_>>(),
            "remarks": self.remarks,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<58} {:>6} {:>12} {:>12}",
            "work", "runs", "median", "p99"
        )?;
        for sample in &self.samples {
            let (median, p99) = (sample.median(), sample.quantile(0.99));
            writeln!(
                f,
                "{:<58} {:>6} {:>12.2?} {:>12.2?}",
                sample.name,
                sample.times.len(),
                median,
                p99
            )?;
        }
        for (name, rate) in &self.rates {
            writeln!(f, "{name:<58} {rate:>12.0} calls/s")?;
        }
        for (name, size) in &self.sizes {
            writeln!(f, "{name:<58} {size:>12.2} MiB")?;
        }
        writeln!(f)?;
        for v in &self.verdicts {
            let sign = if v.at_most { "≤" } else { "≥" };
            let word = match v.is_met() {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "missing",
            };
            let measured = v.measured.map_or("-".into(), |m| format!("{m:.2}"));
            writeln!(
                f,
                "{:<58} {measured:>6} {sign} {:<6} {word}",
                v.what, v.bound
            )?;
        }
        for remark in &self.remarks {
            writeln!(f, "note: {remark}")?;
        }
        Ok(())
    }
}
