//! The ledger on disk, as a node keeps it: the chunk being written, completed ones, committed ones.

mod existing;
mod files;

pub use existing::Located;
pub use files::{LedgerError, LedgerFiles, Options};
