#![cfg(test)]
//! x.
