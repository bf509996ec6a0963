//! The path of an entry never leads upwards, and what a whiteout hides is one name.
#![no_main]

use std::os::unix::ffi::OsStrExt;

use axo_image::{Whiteout, bounds, fuzzing, parse_whiteout};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(Whiteout::Remove(hidden)) = parse_whiteout(bytes) {
        assert!(is_a_name(hidden) || hidden.contains(&0) || hidden.len() > bounds::MAX_NAME_BYTES);
    }
    let Ok((parent, name)) = fuzzing::entry_path(bytes) else {
        return;
    };
    let parent = parent.as_bytes();
    let mut parts: Vec<&[u8]> = match parent {
        b"" => Vec::new(),
        path => path.split(|byte| *byte == b'/').collect(),
    };
    match &name {
        None => assert!(parts.is_empty()),
        Some(name) => parts.push(name.as_bytes()),
    }
    assert!(parts.len() <= bounds::MAX_DEPTH);
    assert!(parts.iter().all(|part| is_a_name(part)));
});

/// Whether it is one component of a path, which leads downwards.
fn is_a_name(part: &[u8]) -> bool {
    let special = matches!(part, b"" | b"." | b"..");
    !special && part.len() <= bounds::MAX_NAME_BYTES && !part.contains(&b'/') && !part.contains(&0)
}
