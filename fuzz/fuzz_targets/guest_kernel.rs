//! Any file is a kernel for guests or is refused: a Debian package, a bzImage, an ELF, or none of them.
#![no_main]

use std::cell::OnceCell;
use std::fs;

use axo_tier_vm::fuzzing::kernel;
use axocoatl_fuzz::told_shortly;
use tempfile::NamedTempFile;

thread_local! {
    static FILE: OnceCell<NamedTempFile> = const { OnceCell::new() };
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    FILE.with(|file| {
        let file = file.get_or_init(|| NamedTempFile::new().expect("a file"));
        fs::write(file.path(), bytes).expect("a file that can be written");
        if let Err(error) = kernel(file.path()) {
            told_shortly(&error);
        }
    });
});
