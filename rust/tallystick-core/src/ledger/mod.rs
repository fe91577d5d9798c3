//! The ledger on disk: entries, their public domain, chunk files, and writing all of these.
pub mod chunk;
pub mod crypto;
pub mod domain;
pub mod entry;
pub mod tail;
pub mod writer;

pub use chunk::{ChunkFile, first_difference};
pub use domain::{Domain, EntryType, PublicHead, Tables};
pub use entry::{Entry, EntryView};
pub use writer::ChunkWriter;
