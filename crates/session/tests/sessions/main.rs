#![cfg(test)]
//! Sessions as their callers meet them: real podman, a real agent, an image made of busybox.

mod adoption;
mod bridge;
mod directory;
mod files;
mod job;
mod kernel;
mod killed_host;
mod limits;
mod network;
mod posture;
mod processes;
mod rules;
mod site;
