//! Threat 14: code that is made to cost the compiler more than it is worth.

use std::time::Duration;

use crate::support::{Home, write};

/// `number` in unsigned LEB128.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len()), content].concat()
}

/// A module of `functions` functions of about 7 MB each, the largest that are valid: twenty thousand
/// variables that are all live across half a million branches.
fn bomb(functions: usize) -> Vec<u8> {
    const VARIABLES: usize = 20_000;
    const BODY_BYTES: usize = 7_000_000;
    let variable = |n: usize| leb(n % VARIABLES);
    let mut body = [&[1][..], &leb(VARIABLES), &[0x7f]].concat();
    let mut n = 0;
    while body.len() < BODY_BYTES {
        // local.set c (a + b); if (d) local.set f (e)
        for part in [
            &[0x20][..],
            &variable(n),
            &[0x20],
            &variable(7 * n + 1),
            &[0x6a, 0x21],
            &variable(13 * n + 2),
            &[0x20],
            &variable(3 * n),
            &[0x04, 0x40, 0x20],
            &variable(5 * n),
            &[0x21],
            &variable(11 * n),
            &[0x0b],
        ] {
            body.extend_from_slice(part);
        }
        n += 1;
    }
    body.push(0x0b);
    let body = [leb(body.len()), body].concat();
    let count = leb(functions);
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, b"\x01\x60\0\0"),
        section(3, &[count.clone(), vec![0; functions]].concat()),
        section(7, b"\x01\x06_start\0\0"),
        section(10, &[count, body.repeat(functions)].concat()),
    ]
    .concat()
}

#[test]
fn code_that_takes_the_compiler_all_its_memory_costs_an_error_and_not_ours() {
    let home = Home::new();
    write(&home.work().join("bomb.wasm"), &bomb(12));
    let ended = home
        .start(&["run", "bomb.wasm", "--input", "null"])
        .end_within(Duration::from_secs(150))
        .exits(
            125,
            &["the compiler process ended with signal", "limit of memory"],
        );
    assert!(ended.stdout.is_empty());
    // What could not be compiled leaves nothing in the cache but the lock.
    let left: Vec<_> = std::fs::read_dir(home.cache())
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| name.to_string_lossy().starts_with("lock-")),
        "{left:?}"
    );
}
