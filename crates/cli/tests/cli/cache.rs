//! Compiled code: kept, checked before it is used, and made anew where it is not sound.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::support::{Home, PROBE, entries, mode, set_mode, write};

const ECHO: &str = r#"{"op":"echo"}"#;

/// The one entry of compiled code.
#[track_caller]
fn entry(home: &Home) -> PathBuf {
    let all = entries(&home.cache());
    let (mut compiled, rest): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|path| path.extension().is_some_and(|e| e == "cwasm"));
    assert_eq!(compiled.len(), 1, "{compiled:?}");
    for path in rest {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("lock-"), "left: {name}");
    }
    compiled.remove(0)
}

fn identity(path: &PathBuf) -> (u64, i64, i64, u64) {
    let metadata = fs::metadata(path).unwrap();
    (
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.len(),
    )
}

#[test]
fn a_second_run_does_not_compile() {
    let home = Home::new();
    home.probe(ECHO, &[]).succeeds_silently();
    let first = identity(&entry(&home));
    home.probe(ECHO, &[]).succeeds_silently();
    assert_eq!(identity(&entry(&home)), first);
}

#[test]
fn compiled_code_is_found_by_what_it_was_compiled_from() {
    let home = Home::new();
    let program = home.work().join("p.wat");
    let exiting = |code: u32| {
        format!(
            "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32))) \
             (memory (export \"memory\") 0) (func (export \"_start\") (call $exit (i32.const {code}))))"
        )
    };
    for code in [7, 8, 7] {
        write(&program, exiting(u32::try_from(code).unwrap()).as_bytes());
        home.axocoatl(&["run", "p.wat", "--input", "null"])
            .exits(code, &[]);
    }
}

#[test]
fn the_cache_is_private() {
    let home = Home::new();
    home.probe(ECHO, &[]).succeeds_silently();
    assert_eq!(mode(&home.cache()), 0o700);
    assert_eq!(mode(&entry(&home)), 0o600);
}

#[test]
fn a_flipped_byte_is_warned_of_and_the_entry_replaced() {
    let home = Home::new();
    home.probe(ECHO, &[]).succeeds_silently();
    let path = entry(&home);
    let good = fs::read(&path).unwrap();
    for at in [0, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let ended = home.probe(ECHO, &[]).exits(
            0,
            &["warning", "cache entry discarded", path.to_str().unwrap()],
        );
        assert_eq!(ended.out(), format!("{ECHO}\n"));
        assert!(
            fs::read(entry(&home)).unwrap() == good,
            "byte {at} was not repaired"
        );
        home.probe(ECHO, &[]).succeeds_silently();
    }
}

#[test]
fn an_entry_that_is_a_link_or_open_to_others_is_not_used() {
    let home = Home::new();
    home.probe(ECHO, &[]).succeeds_silently();
    let path = entry(&home);
    let elsewhere = home.work().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    home.probe(ECHO, &[])
        .exits(0, &["warning", "symbolic link"]);
    assert!(fs::symlink_metadata(entry(&home)).unwrap().is_file());
    assert!(elsewhere.exists());

    set_mode(&entry(&home), 0o666);
    home.probe(ECHO, &[])
        .exits(0, &["warning", "writable by others"]);
    assert_eq!(mode(&entry(&home)), 0o600);
}

#[test]
fn a_cache_that_others_can_write_is_refused_with_the_repair() {
    let home = Home::new();
    home.probe(ECHO, &[]).succeeds_silently();
    set_mode(&home.cache(), 0o777);
    let path = home.cache();
    let ended = home.probe(ECHO, &[]).exits(
        125,
        &[path.to_str().unwrap(), "writable by others", "chmod 700"],
    );
    assert!(ended.stdout.is_empty(), "{ended}");
    set_mode(&home.cache(), 0o700);
    home.probe(ECHO, &[]).succeeds_silently();
}

#[test]
fn processes_that_compile_the_same_at_once_leave_one_entry() {
    let home = Home::new();
    let running: Vec<_> = (0..4)
        .map(|_| home.start(&["run", PROBE, "--input", ECHO]))
        .collect();
    for running in running {
        let ended = running.end().succeeds_silently();
        assert_eq!(ended.out(), format!("{ECHO}\n"));
    }
    entry(&home);
}

#[test]
fn what_a_killed_process_left_half_written_is_removed() {
    let home = Home::new();
    home.probe(ECHO, &[]).succeeds_silently();
    let path = entry(&home);
    let shard = &path.file_name().unwrap().to_str().unwrap()[..1];
    fs::write(home.cache().join(format!("tmp-{shard}-0123")), "half").unwrap();
    fs::remove_file(&path).unwrap();
    home.probe(ECHO, &[]).succeeds_silently();
    entry(&home);
}

/// Counting fuel makes other code, which must not be taken for the plain one.
#[test]
fn code_that_counts_fuel_is_kept_apart() {
    let home = Home::new();
    home.probe(ECHO, &[]).succeeds_silently();
    home.probe(r#"{"op":"spin"}"#, &["--fuel", "100000"])
        .exits(152, &[]);
    home.probe(ECHO, &[]).succeeds_silently();
    let compiled = entries(&home.cache());
    let compiled = compiled
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "cwasm"));
    assert_eq!(compiled.count(), 2);
}
