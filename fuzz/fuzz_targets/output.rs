//! Whatever a tool leaves is an output or a problem.
#![no_main]

use axo_core::{OutputFile, OutputMode, ToolOutput};

libfuzzer_sys::fuzz_target!(|input: (u8, Option<Vec<u8>>, Vec<u8>)| {
    let (mode, file, stdout) = input;
    let mode = [OutputMode::Auto, OutputMode::File, OutputMode::Json, OutputMode::Text][usize::from(mode % 4)];
    let file = file.map_or(OutputFile::Absent, OutputFile::Read);
    let output = ToolOutput::interpret(mode, &file, &stdout);
    if matches!(mode, OutputMode::Text) {
        assert_eq!(output.document().is_some(), std::str::from_utf8(&stdout).is_ok());
    }
});
