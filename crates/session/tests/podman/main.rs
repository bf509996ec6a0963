#![cfg(test)]
//! Podman readiness, on hosts put together of stand-ins for every operating system, and on this host.

mod commands;
mod install;
mod leftovers;
mod readiness;
mod real;
mod remote;
mod repair;
mod rootless;
mod search;
mod stand_in;
mod store;
