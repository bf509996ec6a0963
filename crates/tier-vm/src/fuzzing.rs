//! Ways in for the fuzz targets in `fuzz/`, which would otherwise need a machine. Nobody else has a use
//! for them.

use std::path::Path;

use crate::api::{self, ApiError};
use crate::kernel::{self, KernelError};

/// Takes a kernel out of a file, as setting up does.
///
/// # Errors
/// It is none.
pub fn kernel(file: &Path) -> Result<(), KernelError> {
    kernel::read(file, None).map(drop)
}

/// Has a request answered with these bytes, as by Firecracker.
///
/// # Errors
/// They are no good answer.
pub async fn answer(bytes: &[u8]) -> Result<(), ApiError> {
    api::answered(bytes).await.map(drop)
}
