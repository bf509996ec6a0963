#![cfg(test)]
//! The engine as an embedding program meets it.

mod audit;
mod growth;
mod native;
mod network;
mod support;
mod tools;
