//! What several fuzz targets check.

/// Longest text of an error, in bytes: what a stranger wrote is repeated in part at most.
const MAX_ERROR_BYTES: usize = 4096;

/// An error and its causes have a text, and no stranger decides how long it is.
///
/// # Panics
/// It has none, or it is too long.
pub fn told_shortly(error: &dyn std::error::Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        assert!(
            !text.is_empty() && text.len() <= MAX_ERROR_BYTES,
            "{} bytes: {text:.200}",
            text.len()
        );
        next = error.source();
    }
}
