#![cfg(test)]
//! Tier microvm as a whole, with the engine of an embedding program and real guests: what clones of a
//! stored machine share and what they must not, real work, and what a host process that is killed leaves.
//!
//! Run where KVM runs guests, as root; elsewhere they fail. `AXO_MACHINES` names the data directory
//! that the tier was set up in, `AXO_PYTHON` the root file system of a Debian with Python, as the tests
//! of tier oci make it, and `AXO_CSV_TOOL` the example `csv-stats-image`.

#[path = "../common/mod.rs"]
mod common;
mod host;
mod killed_host;
mod python;
mod restored;
mod site;
