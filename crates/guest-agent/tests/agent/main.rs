#![cfg(test)]
//! The agent from outside: the real program, on a socket of its own, spoken to by the protocol.

mod ends;
mod files;
mod machine;
mod output;
mod processes;
mod protocol;
mod support;
mod terminals;
mod tools;
mod watch;
