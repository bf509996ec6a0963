#![cfg(test)]
//! The command as its users meet it: every test starts the program, in a home of its own.

mod audit;
mod bad_programs;
mod bad_tools;
mod cache;
mod clock;
mod command_line;
mod compile_bomb;
mod disk_full;
mod ended;
mod environment;
mod exit_status;
mod gc;
mod host;
mod input;
mod interrupt;
mod json;
mod limits;
mod native;
mod no_downgrade;
mod policy;
mod process;
mod refused;
mod run;
mod support;
mod terminal;
mod tool_add;
mod tool_rm;
mod tools;
