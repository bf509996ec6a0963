//! What a case came to on a subject, here or on another host.

use axo_testkit::Verdict;
use serde_json::{Value, json};

const PASS: &str = "pass";
const FAIL: &str = "FAIL";

/// One cell of the table.
pub(crate) struct Cell {
    pub(crate) subject: String,
    pub(crate) word: String,
    pub(crate) reason: Option<String>,
}

impl Cell {
    pub(crate) fn new(subject: &str, verdict: &Verdict) -> Self {
        let (word, reason) = match verdict {
            Verdict::Pass => (PASS, None),
            Verdict::Fail(reason) => (FAIL, Some(reason.clone())),
            Verdict::Cannot(reason) => ("cannot", Some(reason.clone())),
        };
        Self {
            subject: subject.to_owned(),
            word: word.to_owned(),
            reason,
        }
    }

    pub(crate) fn passed(&self) -> bool {
        self.word == PASS
    }

    pub(crate) fn failed(&self) -> bool {
        self.word == FAIL
    }

    pub(crate) fn json(&self) -> Value {
        json!({"subject": self.subject, "verdict": self.word, "reason": self.reason})
    }

    fn of(json: &Value) -> Option<Self> {
        Some(Self {
            subject: json["subject"].as_str()?.to_owned(),
            word: json["verdict"].as_str()?.to_owned(),
            reason: json["reason"].as_str().map(str::to_owned),
        })
    }
}

/// The results of another run.
#[derive(Default)]
pub(crate) struct Columns {
    names: Vec<String>,
    cases: Vec<Value>,
}

impl Columns {
    /// Those that were saved in a file.
    pub(crate) fn read(file: &str) -> Result<Self, String> {
        let text = std::fs::read(file).map_err(|error| format!("reading {file}: {error}"))?;
        let all: Value = serde_json::from_slice(&text).map_err(|e| format!("{file}: {e}"))?;
        let cases = all["cases"].as_array().cloned().unwrap_or_default();
        let first = cases.first().and_then(|case| case["verdicts"].as_array());
        let names: Vec<String> = first
            .into_iter()
            .flatten()
            .filter_map(|cell| cell["subject"].as_str().map(str::to_owned))
            .collect();
        if names.is_empty() {
            return Err(format!("{file} has no results"));
        }
        Ok(Self { names, cases })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// A cell of each for this case: one that was not run has failed.
    pub(crate) fn of(&self, name: &str) -> Vec<Cell> {
        let case = self.cases.iter().find(|case| case["case"] == name);
        let found = |subject: &str| {
            let cells = case?["verdicts"].as_array()?;
            Cell::of(cells.iter().find(|cell| cell["subject"] == subject)?)
        };
        let missing =
            |subject: &str| Cell::new(subject, &Verdict::Fail("it was not run there".into()));
        self.names()
            .map(|subject| found(subject).unwrap_or_else(|| missing(subject)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read_and_what_was_not_run_has_failed() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("results");
        let file = file.to_str().unwrap();
        assert!(Columns::read(file).is_err());
        std::fs::write(file, r#"{"cases":[]}"#).unwrap();
        assert!(Columns::read(file).is_err());
        let cells = [
            Cell::new("far", &Verdict::Pass),
            Cell::new("farther", &Verdict::Cannot("no wall".into())),
        ];
        let saved = json!({"cases": [
            {"case": "a", "verdicts": cells.iter().map(Cell::json).collect::<Vec<_>>()},
        ]});
        std::fs::write(file, saved.to_string()).unwrap();
        let columns = Columns::read(file).unwrap();
        assert_eq!(columns.names().collect::<Vec<_>>(), ["far", "farther"]);
        let read = columns.of("a");
        assert!(read[0].passed() && read[0].reason.is_none());
        assert!(!read[1].passed() && !read[1].failed());
        assert_eq!(read[1].reason.as_deref(), Some("no wall"));
        assert!(columns.of("b").iter().all(Cell::failed));
    }
}
