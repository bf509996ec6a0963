//! JSON Schemas of tools. A schema comes with the tool and is as hostile as the tool.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axo_core::Document;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::plain_file;

/// Largest schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Largest compiled regular expression of a `pattern`, in bytes.
const MAX_PATTERN_BYTES: usize = 512 << 10;
/// Most patterns in a schema.
const MAX_PATTERNS: usize = 64;
/// Product of schema and document sizes, in bytes squared, up to which a check is made at once.
/// Without references its work is bounded by this product: some tens of milliseconds.
const INLINE_WORK: usize = 64 << 20;
/// Longest check of a document. References can make the work grow exponentially.
const MAX_CHECK_TIME: Duration = Duration::from_secs(10);
/// Most violations that are told.
const MAX_TOLD: usize = 5;
/// Longest violation that is told, in characters.
const MAX_VIOLATION: usize = 300;

/// A compiled schema.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    path: Arc<Path>,
    validator: Arc<Validator>,
    bytes: usize,
    has_references: bool,
    /// A check did not end in time; its thread may still be at it, and no other is started.
    given_up: Arc<AtomicBool>,
}

/// Why a schema cannot be used, or a document does not fit it.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The schema file cannot be read.
    #[error("the schema {path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The schema file is no JSON Schema that we take.
    #[error("the schema {path} is not usable: {problem}")]
    Bad {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The document does not fit.
    #[error("{}", violations.join("; "))]
    Violated {
        /// What does not fit, as `/path: what is wrong`; the first few.
        violations: Vec<String>,
    },
    /// The check did not end in time.
    #[error(
        "checking against the schema {path} took more than {MAX_CHECK_TIME:?}: simplify its references"
    )]
    TooLong {
        /// The schema.
        path: PathBuf,
    },
}

impl Schema {
    /// Reads and compiles the schema at `path`. References to other files or the network are errors.
    pub(crate) fn load(path: &Path) -> Result<Self, SchemaError> {
        let bad = |problem: String| SchemaError::Bad {
            path: path.to_owned(),
            problem,
        };
        let text =
            plain_file::read(path, MAX_SCHEMA_BYTES).map_err(|source| SchemaError::Unreadable {
                path: path.to_owned(),
                source,
            })?;
        let document = Document::parse(&text, MAX_SCHEMA_BYTES).map_err(|e| bad(e.to_string()))?;
        let features = Features::of(document.value());
        if features.patterns > MAX_PATTERNS {
            return Err(bad(format!("it has more than {MAX_PATTERNS} patterns")));
        }
        let validator = jsonschema::options()
            // The linear-time engine: a hostile pattern cannot backtrack for ever.
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES))
            .build(document.value())
            .map_err(|e| bad(shorten(&e.to_string())))?;
        Ok(Self {
            path: Arc::from(path),
            validator: Arc::new(validator),
            bytes: text.len(),
            has_references: features.references,
            given_up: Arc::default(),
        })
    }

    /// Checks `document`; on a thread of its own if that could take long.
    pub(crate) async fn check(&self, document: &Document) -> Result<(), SchemaError> {
        let work = self.bytes.saturating_mul(document.text().len());
        if !self.has_references && work <= INLINE_WORK {
            return violations(&self.validator, document.value());
        }
        let too_long = || SchemaError::TooLong {
            path: self.path.to_path_buf(),
        };
        if self.given_up.load(Ordering::Relaxed) {
            return Err(too_long());
        }
        let validator = Arc::clone(&self.validator);
        let document = document.clone();
        let check = tokio::task::spawn_blocking(move || violations(&validator, document.value()));
        match tokio::time::timeout(MAX_CHECK_TIME, check).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(SchemaError::Bad {
                path: self.path.to_path_buf(),
                problem: "the checker panicked on it".into(),
            }),
            Err(_) => {
                self.given_up.store(true, Ordering::Relaxed);
                Err(too_long())
            }
        }
    }
}

/// What makes a schema costly.
#[derive(Default)]
struct Features {
    references: bool,
    patterns: usize,
}

impl Features {
    fn of(schema: &Value) -> Self {
        let mut features = Self::default();
        features.note(schema);
        features
    }

    fn note(&mut self, schema: &Value) {
        match schema {
            Value::Object(members) => {
                for (key, value) in members {
                    match key.as_str() {
                        "$ref" | "$dynamicRef" | "$recursiveRef" => self.references = true,
                        "pattern" => self.patterns += 1,
                        "patternProperties" => {
                            self.patterns += value.as_object().map_or(0, serde_json::Map::len);
                        }
                        _ => {}
                    }
                    self.note(value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.note(item)),
            _ => {}
        }
    }
}

fn violations(validator: &Validator, value: &Value) -> Result<(), SchemaError> {
    if validator.is_valid(value) {
        return Ok(());
    }
    let violations = validator
        .iter_errors(value)
        .take(MAX_TOLD)
        .map(|error| {
            let at = error.instance_path().to_string();
            let at = if at.is_empty() { "/" } else { &at };
            shorten(&format!("{at}: {}", error.masked()))
        })
        .collect();
    Err(SchemaError::Violated { violations })
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_VIOLATION).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(value: &Value) -> Result<Schema, SchemaError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), value.to_string()).unwrap();
        Schema::load(file.path())
    }

    #[tokio::test]
    async fn a_violation_names_the_place_and_the_rule() {
        let schema =
            schema(&json!({"properties": {"n": {"type": "integer"}}, "required": ["m"]})).unwrap();
        let error = schema
            .check(&Document::from(json!({"n": "x"})))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("/n: ") && error.contains("\"m\""), "{error}");
        assert!(
            schema
                .check(&Document::from(json!({"n": 1, "m": 1})))
                .await
                .is_ok()
        );
    }

    #[test]
    fn a_schema_that_reaches_out_or_is_no_schema_is_refused() {
        for bad in [
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"type": "no-such-type"}),
            json!({"pattern": "(a"}),
            json!([]),
        ] {
            assert!(schema(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn references_that_multiply_end_at_the_deadline_and_are_not_tried_again() {
        // Each level checks the next one twice: 2^60 checks of one value.
        let levels: serde_json::Map<_, _> = (0..60)
            .map(|n| {
                let next = json!({"$ref": format!("#/$defs/l{}", n + 1)});
                (format!("l{n}"), json!({"allOf": [next, next]}))
            })
            .chain([("l60".to_owned(), json!({"type": "integer"}))])
            .collect();
        let schema = schema(&json!({"$ref": "#/$defs/l0", "$defs": levels})).unwrap();
        let document = Document::from(json!(1));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let started = std::time::Instant::now();
        let [first, second] = [0, 1].map(|_| runtime.block_on(schema.check(&document)));
        // The thread that is still at it must not keep the test from ending.
        runtime.shutdown_background();
        assert!(
            matches!(first, Err(SchemaError::TooLong { .. })),
            "{first:?}"
        );
        assert!(
            matches!(second, Err(SchemaError::TooLong { .. })),
            "{second:?}"
        );
        assert!(
            started.elapsed() < 2 * MAX_CHECK_TIME,
            "the second check waited too"
        );
    }

    #[tokio::test]
    async fn a_pattern_cannot_backtrack_for_ever() {
        let schema = schema(&json!({"pattern": "^(a+)+$"})).unwrap();
        let input = Document::from(json!("a".repeat(100_000) + "!"));
        let started = std::time::Instant::now();
        assert!(schema.check(&input).await.is_err());
        assert!(started.elapsed() < MAX_CHECK_TIME);
    }
}
