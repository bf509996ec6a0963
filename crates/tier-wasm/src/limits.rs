//! The ceilings that Wasmtime asks about while a tool runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

use crate::engines::{COMPONENT_INSTANCES, COMPONENT_MEMORIES, COMPONENT_TABLES, TABLE_ELEMENTS};

/// Ended a tool that asked for memory beyond its limit.
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} bytes of memory")]
pub(crate) struct MemoryLimitReached {
    limit: u64,
}

/// Ended a tool that asked for a table beyond the ceiling.
#[derive(Debug, thiserror::Error)]
#[error("a table of {elements} elements; at most {TABLE_ELEMENTS} are allowed")]
pub(crate) struct TableLimitReached {
    elements: usize,
}

/// Counts the linear memory of one call over all its instances.
pub(crate) struct Limiter {
    limit: u64,
    used: u64,
    peak: Arc<AtomicU64>,
}

impl Limiter {
    /// Allows `limit` bytes, and notes the most that was in use in `peak`.
    pub(crate) fn new(limit: u64, peak: Arc<AtomicU64>) -> Self {
        Self {
            limit,
            used: 0,
            peak,
        }
    }
}

impl ResourceLimiter for Limiter {
    /// A tool that asks for more than its limit is ended, as a container would be: it cannot tell
    /// a refusal from a bug, and most allocators would trap without saying why.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self
            .used
            .saturating_add(desired.saturating_sub(current) as u64);
        if grown > self.limit {
            return Err(MemoryLimitReached { limit: self.limit }.into());
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The program's own maximum: it is told so, as the specification says.
            return Ok(false);
        }
        self.used = grown;
        self.peak.fetch_max(grown, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            return Err(TableLimitReached { elements: desired }.into());
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        COMPONENT_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        COMPONENT_TABLES as usize
    }

    fn memories(&self) -> usize {
        COMPONENT_MEMORIES as usize
    }
}
