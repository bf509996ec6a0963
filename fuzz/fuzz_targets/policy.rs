//! Any text is a policy or an error; no policy gives a tool that is not named `none`.
#![no_main]

use axo_core::{Policy, Tier};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(policy) = Policy::parse(text, "policy.toml") {
        assert!(policy.minimum.values().chain(policy.tool_minimum.values()).all(|tier| *tier > Tier::None));
    }
});
