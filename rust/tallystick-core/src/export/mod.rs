//! Rows of an export: what transactions are and wrote, column by column, and as text.
//!
//! The scan fills [`Columns`] on all cores; [`CoverQueue`] adds which signature transaction covers which row;
//! [`csv`] and [`jsonl`] write text. Nothing here checks anything: entries that the scan has findings about have rows
//! that mean nothing.
mod columns;
mod cover;
pub mod csv;
pub mod jsonl;
mod text;

pub use columns::{Columns, TransactionColumns, WriteColumns};
pub use cover::{CoverQueue, MAX_WAITING_ROWS};
pub use text::txids;
