//! Any file is an image or is refused, and what is refused or removed leaves nothing in the store.
//!
//! Headers of tars get the checksum that they should have: finding it out is not what this is for.
#![no_main]

use std::fs;

use axo_image::Silent;
use axocoatl_fuzz::{entries, told_shortly, with_store};

const BLOCK: usize = 512;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    with_store(|store| {
        let source = store.root().join("source");
        fs::write(&source, with_checksums(bytes)).expect("a file");
        let before = entries(store.root());
        match store.import(&source, None, &Silent) {
            Ok(image) => {
                if let Err(error) = store.rootfs(&image, &Silent) {
                    told_shortly(&error);
                }
                assert!(store.remove(&image.digest).expect("it is there").image);
            }
            Err(error) => told_shortly(&error),
        }
        assert_eq!(entries(store.root()), before);
        for part in ["blobs/sha256", "images", "staging", "partial", "rootfs"] {
            assert!(entries(store.root().join(part)).is_empty(), "{part}");
        }
    });
});

fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut start = 0;
    while let Some(block) = bytes.get_mut(start..start + BLOCK) {
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        if block.iter().any(|byte| *byte != 0) {
            header.set_cksum();
            block.copy_from_slice(header.as_bytes());
        }
        let size = usize::try_from(header.entry_size().unwrap_or(0)).unwrap_or(usize::MAX);
        start += BLOCK + size.min(bytes.len()).next_multiple_of(BLOCK);
    }
    bytes
}
