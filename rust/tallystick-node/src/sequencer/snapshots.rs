//! When snapshots of the state are due, and what they are made of.
//!
//! A snapshot is taken at a signature transaction: when enough transactions have passed since the last one, or
//! when one was asked for. Its state is kept as it was at that signature (a persistent map, so that costs
//! nothing) and handed out once the signature is committed.
use std::collections::VecDeque;
use std::sync::Arc;

use tallystick_core::ledger::crypto::CryptoError;
use tallystick_core::snapshot::{self, MapToWrite, SnapshotFields};
use tallystick_core::types::Digest;

use crate::entry::LedgerSecret;
use crate::kv::{Map, State};

/// States that wait for their commit or for somebody to take them. Each keeps alive what later transactions
/// replaced, so there are few; when there are more, the oldest is dropped.
const MAX_WAITING: usize = 8;

/// The state after a signature transaction, and what else a snapshot of it holds.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) seqno: u64,
    pub(super) state: Arc<State>,
    pub(super) leaf: Digest,
    pub(super) views: Vec<u64>,
    pub(super) secret: Arc<LedgerSecret>,
}

impl Snapshot {
    /// Seqno of the signature transaction.
    #[must_use]
    pub fn seqno(&self) -> u64 {
        self.seqno
    }

    /// The snapshot as CCF writes it, private maps encrypted, without a receipt.
    ///
    /// # Errors
    /// [`CryptoError`] when the state is too large for the format.
    pub fn encode(&self) -> Result<Vec<u8>, CryptoError> {
        let (mut public, mut private) = (Vec::new(), Vec::new());
        for (name, map) in self.state.maps() {
            let maps = if name.starts_with("public:") { &mut public } else { &mut private };
            maps.push(rows(name, map));
        }
        let fields = SnapshotFields {
            seqno: self.seqno,
            hash_at_snapshot: self.leaf,
            view_history: self.views.clone(),
            public,
            private,
        };
        snapshot::encode(fields, self.secret.raw())
    }
}

fn rows(name: &str, map: &Map) -> MapToWrite {
    let signed = |version: u64| i64::try_from(version).unwrap_or(i64::MAX);
    let rows = map.iter().map(|(key, found)| (key.to_vec(), signed(found.version), found.value.to_vec()));
    (name.to_owned(), signed(map.version()), rows.collect())
}

/// The schedule, and the snapshots that are on their way.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// Transactions between two snapshots; 0: only those that are asked for.
    interval: u64,
    /// Seqno of the last one that was due by the schedule.
    last: u64,
    forced: bool,
    waiting: VecDeque<Snapshot>,
}

impl Snapshots {
    pub(super) fn schedule(&mut self, interval: u64, from: u64) {
        self.interval = interval;
        self.last = from;
    }

    pub(super) fn force(&mut self) {
        self.forced = true;
    }

    /// Whether a snapshot is due at the signature transaction `seqno`. One that was asked for leaves the schedule
    /// as it is.
    pub(super) fn due(&mut self, seqno: u64) -> bool {
        let forced = std::mem::take(&mut self.forced);
        let scheduled = self.interval != 0 && seqno.saturating_sub(self.last) >= self.interval;
        if scheduled {
            self.last = seqno;
        }
        forced || scheduled
    }

    pub(super) fn keep(&mut self, snapshot: Snapshot) {
        self.waiting.push_back(snapshot);
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
    }

    /// The oldest snapshot that is committed.
    pub(super) fn take(&mut self, committed: u64) -> Option<Snapshot> {
        let due = self.waiting.front().is_some_and(|oldest| oldest.seqno <= committed);
        due.then(|| self.waiting.pop_front()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_by_count_and_on_request() {
        let mut snapshots = Snapshots::default();
        assert!(!snapshots.due(1_000_000));
        snapshots.schedule(100, 0);
        assert!(!snapshots.due(99));
        assert!(snapshots.due(105));
        assert!(!snapshots.due(204));
        snapshots.force();
        assert!(snapshots.due(204));
        assert!(snapshots.due(205));
    }
}
