//! Any bytes are a manifest within its bounds, or an error of a bounded length.
#![no_main]

use axo_image::{Manifest, bounds, parse_manifest};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match parse_manifest(bytes) {
        Ok(Manifest::Image { config, layers }) => {
            assert!(config.size <= bounds::MAX_CONFIG_BYTES);
            assert!((1..=bounds::MAX_LAYERS).contains(&layers.len()));
            assert!(layers.iter().all(|layer| layer.digest.hex().len() == 64));
        }
        Ok(Manifest::Index(_)) => {}
        Err(error) => axocoatl_fuzz::told_shortly(&error),
    }
});
