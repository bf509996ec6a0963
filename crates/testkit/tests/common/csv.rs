//! The example tool in Python that reads a table, a table of 100,000 rows, and what it comes to.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

pub(crate) const NAME: &str = "localhost/debian-python:bookworm";
const ROWS: usize = 100_000;

/// A table in which some cells are missing, and what its statistics are.
pub(crate) fn table() -> (String, Value) {
    let mut state = 1_u64;
    let mut below = |bound: u64| {
        // Knuth's MMIX generator; the high bits, for the low ones repeat soon.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut csv = "row,city,degrees\n".to_owned();
    let (mut cities, mut values, mut sum) = (HashSet::new(), HashSet::new(), 0_u64);
    let (mut lowest, mut highest, mut present) = (u64::MAX, 0, 0_u64);
    for row in 0..ROWS {
        let city = below(500);
        cities.insert(city);
        write!(csv, "{row},\"Zürich, {city}\",").unwrap();
        if below(1000) > 0 {
            // In quarters, which are exact; never a whole number.
            let quarters = below(1_000_000) * 4 + 1;
            values.insert(quarters);
            (lowest, highest) = (lowest.min(quarters), highest.max(quarters));
            (sum, present) = (sum + quarters, present + 1);
            write!(csv, "{}.25", quarters / 4).unwrap();
        }
        csv.push('\n');
    }
    let last = ROWS - 1;
    let degrees = |quarters: u64| quarters as f64 / 4.0;
    let expected = json!({"rows": ROWS, "columns": [
        {"name": "row", "count": ROWS, "missing": 0, "numeric": true, "min": 0, "max": last,
         "mean": last as f64 / 2.0, "distinct": ROWS},
        {"name": "city", "count": ROWS, "missing": 0, "numeric": false, "min": null, "max": null,
         "mean": null, "distinct": cities.len()},
        {"name": "degrees", "count": present, "missing": ROWS as u64 - present, "numeric": true,
         "min": degrees(lowest), "max": degrees(highest),
         "mean": degrees(sum) / present as f64, "distinct": values.len()},
    ]});
    (csv, expected)
}

/// Numbers are compared as numbers: 3 is 3.0.
pub(crate) fn same_numbers(found: &Value, expected: &Value) {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            assert_eq!(a.len(), b.len(), "{found} {expected}");
            b.iter()
                .for_each(|(key, value)| same_numbers(&found[key], value));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{found} {expected}");
            a.iter().zip(b).for_each(|(a, b)| same_numbers(a, b));
        }
        (Value::Number(a), Value::Number(b)) => assert_eq!(a.as_f64(), b.as_f64()),
        _ => assert_eq!(found, expected),
    }
}
