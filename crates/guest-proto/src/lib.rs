//! What the host and the guest agent of a sandbox say to each other, and its limits.
//!
//! One connection carries one operation, with no multiplexing. Each side begins with [`Hello`]; the
//! client sends its [`Request`] with it and does not wait:
//!
//! ```text
//! client ──Hello, Request────────▶ agent
//!        ◀─Hello, Reply───────────
//!        ──Input…, Steering…─────▶        only a started or attached process; Input of a file or tool
//!        ◀─Output…, Error…, Reply─        until the last reply; then the agent closes
//! ```
//!
//! What ends each operation: [`Reply::Failed`], always; otherwise as each [`Request`] says. A client
//! that closes its connection, or its sending half, has ended the operation.
//!
//! A frame is a length (`u32`, big-endian, of what follows it), a [`Kind`] (one byte), and a payload.
//! The payload of [`Kind::Hello`] and [`Kind::Control`] is one message in postcard, of the other kinds
//! bytes. Both sides take every byte for hostile: a length is checked before memory is taken for it,
//! and a message is checked against [`bounds`] as it is parsed.
//!
//! There is one number for all of it, [`GENERATION`]. What is frozen about a generation stands in
//! `generation-N.txt`, beside this crate's manifest; a test compares. [`Hello`] is the same in every
//! generation.
#![warn(missing_docs)]

pub mod bounds;
pub mod files;
mod frame;
mod hello;
pub mod machine;
mod message;
mod process;
mod reply;
mod request;
mod tool;

pub use frame::{Frame, HEADER_BYTES, Header, Kind, MAX_PAYLOAD, encode};
pub use hello::{GENERATION, Hello};
pub use message::{Message, ProtocolError};
pub use process::{
    Attach, Exited, Lifetime, Limits, Position, ProcessId, ProcessInfo, Size, Start, State, Status,
    Steering, Usage, User,
};
pub use reply::{Code, Disk, Failure, Metrics, Reply};
pub use request::Request;
pub use tool::{PrepareSession, PrepareTool, Renew, RunTool, Stopped, ToolEnded};
