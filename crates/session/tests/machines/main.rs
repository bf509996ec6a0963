//! Sessions on tier microvm, each with a real guest: they need root and a KVM that runs guests, and
//! `AXO_MACHINES`, a data directory in which the tier is set up.
#![cfg(test)]

mod directory;
mod life;
mod site;
