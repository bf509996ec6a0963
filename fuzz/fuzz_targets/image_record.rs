//! Any bytes are a record or an error; a record is what is written of it.
#![no_main]

use axo_image::parse_record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match parse_record(bytes) {
        Ok(record) => {
            let text = serde_json::to_vec(&record).expect("a record can be written");
            assert_eq!(
                parse_record(&text).expect("its own text is read back"),
                record
            );
        }
        Err(error) => axocoatl_fuzz::told_shortly(&error),
    }
});
