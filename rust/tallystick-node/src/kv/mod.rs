//! The key-value store: named maps of bytes to bytes, every version of which is an immutable value.
//!
//! A transaction reads one snapshot and keeps its writes to itself until it commits. Commit is optimistic:
//! it succeeds when nothing that was read has changed since, and is retried by the caller otherwise.
//! Rolling back is taking an older root again.

mod map;
mod names;
mod store;
mod transaction;

pub use map::{Map, Versioned};
pub use names::{Access, Context, NameError, Namespace, namespace, permitted};
pub use store::{Conflict, State, Store};
pub use transaction::{MapChanges, Transaction, WriteSet};

/// A key or a value.
pub type Blob = bytes::Bytes;
