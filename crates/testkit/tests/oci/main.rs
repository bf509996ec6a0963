#![cfg(test)]
//! Tier oci as a whole: what thousands of calls, kills at any moment and hostile bundles leave on
//! the host, and a real Python tool in a real Debian. Needs a host on which the tier is ready, root,
//! and a C compiler.
//!
//! Nearly every test looks at the whole host, so they run one after the other: see `host::alone`.

#[path = "../common/mod.rs"]
mod common;
mod counts;
mod creates;
mod crowd;
mod host;
mod killed_host;
mod killed_runner;
mod layouts;
mod planted;
mod pool;
mod priority;
mod python;
mod reaper;
mod registry;
mod site;
mod stopped_runner;
