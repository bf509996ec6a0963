//! Machines in the jail of the real jailer, with a Firecracker that runs no guest: what holds on every
//! host of root's, whatever its KVM is worth.
#![cfg(test)]

mod answers;
mod ends;
mod kept;
mod kvm;
mod pool;
mod posture;
mod snapshots;
mod support;
