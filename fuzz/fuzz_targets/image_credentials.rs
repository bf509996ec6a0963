//! Any bytes are a credentials file or an error, which passes nothing on of what is secret.
#![no_main]

use axo_image::fuzzing;

libfuzzer_sys::fuzz_target!(|input: (&[u8], &str, &str)| {
    let (file, registry, repository) = input;
    match fuzzing::credentials(file, registry, repository) {
        Ok(found) => assert!(found.is_none_or(|(user, _)| !user.contains(':'))),
        Err(error) => axocoatl_fuzz::told_shortly(&error),
    }
});
