//! Input of the size of real work, made the same on every run, with answers known beforehand.

use std::collections::HashSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::call::call;
use super::numbers::Numbers;
use crate::shell::Shell;

const TEXT_BYTES: usize = 5_000_000;
const ROWS: usize = 100_000;
const CITIES: u64 = 500;

/// An input, what it is, and what parts of the output have to be, by JSON pointer.
struct Large {
    what: String,
    input: Value,
    expected: Vec<(String, Value)>,
}

/// Returns what there is to say about it, or nothing when a tool has no such input.
pub(super) fn run(shell: &Shell, tool: &str) -> Result<Option<String>> {
    let large = match tool {
        "word-count" => text(),
        "group-by" => rows(),
        "csv-stats" => table(),
        _ => return Ok(None),
    };
    let called = call(shell, tool, &large.input)?;
    let output = called.output()?;
    for (pointer, expected) in &large.expected {
        let found = output.pointer(pointer).unwrap_or(&Value::Null);
        ensure!(
            found == expected,
            "{}: {pointer} is {found}, not {expected}",
            large.what
        );
    }
    Ok(Some(format!(
        "{} in {:.2} s",
        large.what,
        called.took.as_secs_f64()
    )))
}

/// For word-count: words of several lengths and scripts, in lines.
fn text() -> Large {
    let mut numbers = Numbers::new();
    let (mut text, mut words, mut distinct) = (String::new(), 0_u64, HashSet::new());
    while text.len() < TEXT_BYTES {
        let number = numbers.below(20_000);
        let stem = if number.is_multiple_of(97) {
            "straße"
        } else {
            "word"
        };
        let word = format!("{stem}{number}");
        text.push_str(&word);
        text.push_str(if words % 12 == 11 { ".\n" } else { " " });
        words += 1;
        distinct.insert(word);
    }
    let expected = vec![
        ("/words".to_owned(), json!(words)),
        ("/distinct".to_owned(), json!(distinct.len())),
        ("/lines".to_owned(), json!(text.lines().count())),
        ("/characters".to_owned(), json!(text.chars().count())),
    ];
    Large {
        what: format!("{} MB of text", TEXT_BYTES / 1_000_000),
        input: json!({ "text": text }),
        expected,
    }
}

/// For group-by: whole numbers by city.
fn rows() -> Large {
    let mut numbers = Numbers::new();
    // In order of appearance, as the tool answers: city, rows, sum.
    let mut groups: Vec<(String, u64, u64)> = Vec::new();
    let mut rows = Vec::with_capacity(ROWS);
    for _ in 0..ROWS {
        let (city, people) = (
            format!("city {}", numbers.below(CITIES)),
            numbers.below(1_000_000),
        );
        rows.push(json!({ "city": city, "people": people }));
        match groups.iter_mut().find(|group| group.0 == city) {
            Some((_, count, sum)) => (*count, *sum) = (*count + 1, *sum + people),
            None => groups.push((city, 1, people)),
        }
    }
    let mut expected = vec![("/rows".to_owned(), json!(ROWS))];
    for (index, (city, count, sum)) in groups.into_iter().enumerate() {
        expected.push((format!("/groups/{index}/key"), json!(city)));
        expected.push((format!("/groups/{index}/count"), json!(count)));
        expected.push((format!("/groups/{index}/sum"), json!(sum)));
    }
    let input = json!({ "rows": rows, "by": "city", "sum": "people" });
    Large {
        what: format!("{ROWS} rows"),
        input,
        expected,
    }
}

/// For csv-stats: a table in which some cells are missing.
fn table() -> Large {
    let mut numbers = Numbers::new();
    let mut csv = "row,city,degrees\n".to_owned();
    let (mut lowest, mut highest, mut missing, mut cities) = (u64::MAX, 0, 0_u64, HashSet::new());
    for row in 0..ROWS {
        let city = numbers.below(CITIES);
        cities.insert(city);
        let _ = write!(csv, "{row},\"city, {city}\",");
        if numbers.below(1000) == 0 {
            missing += 1;
        } else {
            // In quarters, so that the least and the greatest are exact; never a whole number.
            let quarters = numbers.below(1_000_000) * 4 + 1;
            (lowest, highest) = (lowest.min(quarters), highest.max(quarters));
            let _ = write!(csv, "{}.25", quarters / 4);
        }
        csv.push('\n');
    }
    let degrees = |quarters: u64| json!(quarters as f64 / 4.0);
    let expected = [
        ("/rows", json!(ROWS)),
        ("/columns/0/min", json!(0)),
        ("/columns/0/max", json!(ROWS - 1)),
        ("/columns/1/distinct", json!(cities.len())),
        ("/columns/2/missing", json!(missing)),
        ("/columns/2/min", degrees(lowest)),
        ("/columns/2/max", degrees(highest)),
    ];
    let expected = expected
        .map(|(pointer, value)| (pointer.to_owned(), value))
        .into();
    Large {
        what: format!("a table of {ROWS} rows"),
        input: json!({ "csv": csv }),
        expected,
    }
}
