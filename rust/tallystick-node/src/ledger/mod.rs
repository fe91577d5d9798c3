//! The ledger on disk, as a node keeps it: the chunk being written, completed ones, committed ones.

mod files;

pub use files::{LedgerError, LedgerFiles, Options};
