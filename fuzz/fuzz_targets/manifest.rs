//! Any text is a manifest or an error with a line that exists; a manifest stays in its directory.
#![no_main]

use axo_core::{Run, ToolSpec, WasmSource};
use std::path::{Component, Path};

libfuzzer_sys::fuzz_target!(|text: &str| {
    match ToolSpec::from_manifest(text, Path::new("/tools/t")) {
        Ok(spec) => {
            if let Run::Wasm(WasmSource::File(path)) = &spec.run {
                assert!(path.starts_with("/tools/t"));
                assert!(path.components().all(|c| !matches!(c, Component::ParentDir)));
            }
        }
        Err(error) => assert!((1..=text.matches('\n').count() + 1).contains(&error.line)),
    }
});
