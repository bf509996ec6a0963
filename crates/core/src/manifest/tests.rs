use super::*;
use crate::Size;
use proptest::prelude::*;
use std::time::Duration;

fn read(text: &str) -> Result<ToolSpec, LocatedError> {
    ToolSpec::from_manifest(text, Path::new("/tools/t"))
}

const FULL: &str = r#"
name = "csv-stats"
version = "1.0.0"
description = "Column statistics of a CSV text"
requires = "wasm"

[run]
wasm = "csv_stats.wasm"
output = "json"

[schema]
input = "input.schema.json"
output = "output.schema.json"

[limits]
wall = "10s"
cpu = 1.0
memory = "128MiB"
pids = 64
files = 256
disk = "64MiB"
output = "1MiB"
fuel = 1_000_000_000

[grants]
network = ["api.example.com:443"]
env = ["TZ"]
secrets = ["API_KEY"]
mounts = [{ source = "data", target = "/data", mode = "ro" }]

[isolation]
min_tier = "wasm"
"#;

#[test]
fn the_manifest_of_the_design_is_read_whole() {
    let spec = read(FULL).unwrap();
    assert_eq!(spec.name.as_str(), "csv-stats");
    assert_eq!(
        spec.run,
        Run::Wasm(WasmSource::File("/tools/t/csv_stats.wasm".into()))
    );
    assert_eq!(spec.output, OutputMode::Json);
    assert_eq!(spec.limits.wall, Some(Duration::from_secs(10)));
    assert_eq!(spec.limits.memory, Some(Size::from_mib(128)));
    assert_eq!(spec.limits.fuel, Some(1_000_000_000));
    assert_eq!(spec.grants.network[0].to_string(), "api.example.com:443");
    assert_eq!(spec.grants.mounts[0].target, "/data");
    assert_eq!(spec.min_tier, Some(Tier::Wasm));
}

/// Each bad manifest, with the line, the key and a word of the fix that its error must carry.
#[test]
fn every_error_names_the_file_the_line_the_key_and_the_fix() {
    let cases = [
        (
            "name = \"t\"\ndescription = \"a\\nb\"\n[run]\nwasm = \"a\"",
            2,
            "description",
            "one line",
        ),
        (
            "name = \"t\"\nwalls = 1\n[run]\nwasm = \"a\"",
            2,
            "walls",
            "expected one of",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\n[limits]\nwal = \"1s\"",
            5,
            "limits.wal",
            "`wall`",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\n[limits]\nwall = \"10\"",
            5,
            "limits.wall",
            "\"10s\"",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\n[limits]\nwall = 10",
            5,
            "limits.wall",
            "expected a string",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\n[limits]\nmemory = \"128\"",
            5,
            "limits.memory",
            "\"128MiB\"",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\n[limits]\ncpu = -1.0",
            5,
            "limits.cpu",
            "0.5",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\n[limits]\npids = 0",
            5,
            "limits.pids",
            "leave it out",
        ),
        (
            "name = \"../t\"\n[run]\nwasm = \"a\"",
            1,
            "name",
            "csv-stats",
        ),
        (
            "name = \"t\"\n[run]\noutput = \"json\"",
            2,
            "run",
            "exactly one of",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\nimage = \"b\"",
            2,
            "run",
            "exactly one of",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"../a\"",
            3,
            "run.wasm",
            "relative path",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"/a\"",
            3,
            "run.wasm",
            "relative path",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\ncommand = [\"x\"]",
            4,
            "run.command",
            "`image` only",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\noutput = \"xml\"",
            4,
            "run.output",
            "file, json, text",
        ),
        (
            "name = \"t\"\nrequires = \"java\"\n[run]\nwasm = \"a\"",
            2,
            "requires",
            "python",
        ),
        (
            "name = \"t\"\nrequires = \"native-trusted\"\n[run]\nwasm = \"a\"",
            2,
            "requires",
            "policy.toml",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\n[grants]\nnetwork = [\"x\"]",
            5,
            "grants.network",
            "HOST:PORT",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\n[grants]\nenv = [\"A=1\"]",
            5,
            "grants.env",
            "operator",
        ),
        (
            "name = \"t\"\n[run]\nwasm = \"a\"\n[isolation]\nmin_tier = \"vm\"",
            5,
            "isolation.min_tier",
            "microvm",
        ),
    ];
    for (text, line, key, fix) in cases {
        let error = read(text).expect_err(text);
        assert_eq!(error.file, "/tools/t/tool.toml");
        assert_eq!(
            (error.line, error.key.as_deref()),
            (line, Some(key)),
            "{text}\n{error}"
        );
        assert!(error.problem.contains(fix), "{fix:?} is not in: {error}");
    }
}

#[test]
fn a_missing_name_or_run_section_is_named() {
    assert!(
        read("[run]\nwasm = \"a\"")
            .unwrap_err()
            .problem
            .contains("`name`")
    );
    assert!(read("name = \"t\"").unwrap_err().problem.contains("`run`"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}|(name|run|wasm|limits|\\[|\\]|=|\"|\n| |t){0,60}") {
        let _ = read(&text);
    }

    #[test]
    fn one_changed_byte_never_panics(at in 0..FULL.len(), byte in any::<u8>()) {
        let mut bytes = FULL.as_bytes().to_vec();
        bytes[at] = byte;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = read(text);
        }
    }
}
