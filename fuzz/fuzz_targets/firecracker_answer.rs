//! Whatever Firecracker answers is an answer or an error, told shortly.
#![no_main]

use axo_tier_vm::fuzzing::answer;
use axocoatl_fuzz::told_shortly;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if let Err(error) = runtime.block_on(answer(bytes)) {
        told_shortly(&error);
    }
});
