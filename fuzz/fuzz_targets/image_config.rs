//! Any bytes are an image configuration within its bounds, or an error of a bounded length.
#![no_main]

use axo_image::{bounds, parse_config};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match parse_config(bytes) {
        Ok(config) => {
            assert!(config.diff_ids.len() <= bounds::MAX_LAYERS);
            let empty = Some(String::new());
            assert!(
                [config.user, config.working_dir, config.created]
                    .iter()
                    .all(|text| *text != empty)
            );
        }
        Err(error) => axocoatl_fuzz::told_shortly(&error),
    }
});
