//! Processes: started, heard, steered, and known for a while after their end.

mod follow;
mod output;
mod pump;
mod ring;
mod spawn;
mod table;
mod terminal;

pub(crate) use follow::{attach, start};
pub(crate) use table::{Reaped, Table};
