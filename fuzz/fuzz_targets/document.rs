//! Any bytes are a document or an error; a document is what its text says.
#![no_main]

use axo_core::Document;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    const LIMIT: usize = 1 << 16;
    if let Ok(document) = Document::parse(bytes, LIMIT) {
        assert!(bytes.len() <= LIMIT);
        let again = Document::parse(document.text().as_bytes(), LIMIT).expect("its own text is read back");
        assert_eq!(again.value(), document.value());
    }
});
