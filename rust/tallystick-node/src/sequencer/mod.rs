//! From transactions to a committed ledger.
//!
//! ```text
//! execute → commit: check for conflicts, assign (view, seqno), seal, append the leaf
//!         → batch […, signature transaction] → replicate → committed
//! ```
//!
//! Invariants:
//!
//! 1. Seqnos are assigned under one lock, without gaps, in the order in which write sets are applied.
//! 2. Only a signature transaction makes what precedes it committable: a batch always ends in one, and is
//!    replicated and committed whole or not at all.
//! 3. What is not in a committed batch may be rolled back; its transaction IDs then answer `Invalid`.
//! 4. A transaction counts as committed only after the replicator has said so for its whole batch.

mod batch;
mod keys;
mod replicate;
mod secrets;
mod signature;
mod snapshots;
mod status;

pub(crate) use batch::CommitFollower;
pub use batch::{CommitError, Committing, Options, Sequencer};
pub use keys::KeySigner;
pub use replicate::{Batch, LocalReplicator, Observer, Replicator};
pub use secrets::LedgerSecrets;
pub use signature::{RootSigner, SignError, SignatureMode, SignedRoot};
pub use snapshots::Snapshot;
pub use status::{TxStatus, ViewHistory};
