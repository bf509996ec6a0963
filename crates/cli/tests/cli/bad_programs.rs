//! Programs that are none: refused with a reason and a way out, without a hang or a crash.

use std::fs;
use std::time::Duration;

use crate::support::{Home, PROBE, add_tool, make_fifo, write};

const ECHO: &str = r#"{"op":"echo"}"#;

fn bad_program(home: &Home, code: &[u8], phrases: &[&str]) {
    write(&home.work().join("bad.wasm"), code);
    let phrases = [&["tool bad cannot be run", "axocoatl tool check"], phrases].concat();
    let ended = home
        .axocoatl(&["run", "bad.wasm", "--input", ECHO])
        .exits(125, &phrases);
    assert!(ended.stdout.is_empty(), "{ended}");
    home.axocoatl(&["tool", "check", "bad.wasm"])
        .exits(125, &phrases);
    let kept = crate::support::entries(&home.cache());
    assert!(
        kept.iter().all(|path| path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("lock-")),
        "bad code was kept: {kept:?}"
    );
}

#[test]
fn a_truncated_program_is_refused_wherever_it_is_cut() {
    let home = Home::new();
    let code = fs::read(PROBE).unwrap();
    for length in [0, 1, 4, 7, 9, 100, code.len() / 2, code.len() - 1] {
        bad_program(&home, &code[..length], &[]);
    }
}

#[test]
fn bytes_that_are_no_program_are_refused() {
    let home = Home::new();
    let random: Vec<u8> = (0..4096u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    bad_program(&home, &random, &["neither WebAssembly nor its text format"]);
    bad_program(&home, b"\x7fELF\x02\x01\x01", &["neither WebAssembly"]);
    bad_program(&home, b"#!/bin/sh\necho pwned\n", &["neither WebAssembly"]);
    let after_preamble = [b"\0asm\x01\0\0\0", &random[..]].concat();
    bad_program(&home, &after_preamble, &[]);
    let component = [b"\0asm\x0d\0\x01\0", &random[..]].concat();
    bad_program(&home, &component, &[]);
    bad_program(&home, b"\0asm\x02\0\0\0", &["version or layer"]);
    bad_program(&home, b"(module (func (export \"_start\") i32.const))", &[]);
}

#[test]
fn a_program_without_an_entry_point_is_refused() {
    let home = Home::new();
    let cases = [
        "(module)",
        "(module (func (export \"main\")))",
        "(module (memory (export \"_start\") 1))",
        "(module (func (export \"_start\") (param i32)))",
    ];
    for text in cases {
        write(&home.work().join("library.wat"), text.as_bytes());
        home.axocoatl(&["run", "library.wat", "--input", "null"])
            .exits(125, &["no function `_start`", "build it as a WASI command"]);
    }
    write(&home.work().join("library.wat"), b"(component)");
    home.axocoatl(&["run", "library.wat", "--input", "null"])
        .exits(125, &["wasi:cli/run", "build it as a WASI command"]);
}

#[test]
fn a_program_file_that_is_missing_is_named() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "missing", "");
    fs::remove_file(tool.join("tool.wasm")).unwrap();
    home.axocoatl(&["run", tool.to_str().unwrap(), "--input", ECHO])
        .exits(
            125,
            &[
                "missing/tool.wasm cannot be read",
                "build the tool, or correct `wasm` in its tool.toml",
            ],
        );
}

#[test]
fn a_program_that_is_no_regular_file_is_not_waited_for() {
    let home = Home::new();
    let tool = add_tool(&home.work(), "odd", "");
    let program = tool.join("tool.wasm");
    fs::remove_file(&program).unwrap();
    make_fifo(&program);
    home.start(&["run", tool.to_str().unwrap(), "--input", ECHO])
        .end_within(Duration::from_secs(10))
        .exits(125, &["cannot be read", "not a regular file"]);
    fs::remove_file(&program).unwrap();
    fs::create_dir(&program).unwrap();
    home.axocoatl(&["run", tool.to_str().unwrap(), "--input", ECHO])
        .exits(125, &["cannot be read"]);
    fs::remove_dir(&program).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &program).unwrap();
    home.axocoatl(&["run", tool.to_str().unwrap(), "--input", ECHO])
        .exits(125, &["cannot be read", "not a regular file"]);
}

#[test]
fn a_bare_fifo_is_not_waited_for() {
    let home = Home::new();
    make_fifo(&home.work().join("fifo.wasm"));
    home.start(&["run", "fifo.wasm", "--input", ECHO])
        .end_within(Duration::from_secs(10))
        .exits(125, &["fifo.wasm cannot be read", "not a regular file"]);
}

#[test]
fn a_program_that_starts_with_a_start_function_is_held_to_the_same_limits() {
    let home = Home::new();
    let text = r#"(module (func $init (loop br 0)) (start $init) (func (export "_start")))"#;
    write(&home.work().join("start.wat"), text.as_bytes());
    home.start(&["run", "start.wat", "--timeout", "300ms", "--input", "null"])
        .end_within(Duration::from_secs(10))
        .exits(124, &["time limit"]);
}

#[test]
fn a_program_too_large_to_compile_is_given_up() {
    let home = Home::new();
    let large = fs::File::create(home.work().join("large.wasm")).unwrap();
    large.set_len((96 << 20) + 1).unwrap();
    home.axocoatl(&["run", "large.wasm", "--input", ECHO])
        .exits(125, &["more than 100663296 bytes"]);
}
