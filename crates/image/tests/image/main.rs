#![cfg(test)]
//! The store as its callers meet it: real archives, a real registry, real disks.

mod bad_registries;
mod crash;
mod disk_full;
mod fake;
mod hostile;
mod imports;
mod layers;
mod network;
mod owners;
mod pulls;
mod sharing;
mod support;
