//! The data plane of a node: what executes transactions, orders them, and writes the ledger.
//!
//! It knows nothing of Python. Keys, policies and the life of the service come from its caller.
#![forbid(unsafe_code)]

pub mod app;
pub mod entry;
pub mod http;
pub mod kv;
pub mod ledger;
pub mod node;
pub mod recovery;
pub mod sequencer;
