//! Machines of the real Firecracker with a guest of our own: run where KVM runs guests. Elsewhere they
//! fail.
//!
//! `AXO_MICROVM` names what is installed: a directory with `bin/firecracker`, `bin/jailer`,
//! `kernel/vmlinux` and the kernel's modules in `kernel/modules/`.
#![cfg(test)]

mod boot;
mod guest;
mod killed;
mod pool;
mod posture;
mod restore;
