//! Machines of the real Firecracker with a guest of our own: run where KVM runs guests. Elsewhere they
//! fail.
//!
//! `AXO_MICROVM` names a directory with `bin/firecracker`, `bin/jailer`, `vmlinux` and the kernel's
//! modules in `modules/`.
#![cfg(test)]

mod boot;
mod guest;
mod killed;
mod posture;
mod restore;
