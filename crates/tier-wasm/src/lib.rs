//! Tier 1: WebAssembly in Wasmtime.
//!
//! A tool is a WASI p1 command module or a p2 component with `wasi:cli/run`, told apart by its
//! bytes. Its way through this crate:
//!
//! ```text
//! bytes ──sha256──▶ cache ──miss──▶ compiler (a process of its own, limited) ──▶ cache
//!                     │                                                           │
//!                     └──────────▶ Program: code, linked, checked ◀───────────────┘
//!                                      │ kept for the executor's life
//!     PlacedCall ──▶ invoke: fresh Store from the pool, WASI context, limits ──▶ Finished
//! ```
//!
//! What confines a tool: Wasmtime's software fault isolation; a WASI context with nothing but the
//! granted directories and variables, and no network; a ceiling on memory, tables and
//! instances; [`fuel`](axo_core::LimitKind::Fuel); epochs, which stop loops, beside a timer, which
//! stops waiting in host calls; capped output.

mod cache;
mod code;
mod compile;
mod compiler;
mod cpu;
mod engines;
mod executor;
mod failed;
mod invoke;
mod limits;
mod loader;
mod output;
mod program;
mod scratch;
mod ticker;
mod wasi;
mod worker;

pub use compiler::Compiler;
pub use executor::{ScratchRoot, WasmConfig, WasmExecutor};
pub use worker::serve as serve_compiler;
