//! Which ledger secret is in force where.
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entry::LedgerSecret;

/// Ledger secrets by the seqno from which each is valid.
#[derive(Clone, Debug, Default)]
pub struct LedgerSecrets {
    by_start: BTreeMap<u64, Arc<LedgerSecret>>,
}

impl LedgerSecrets {
    /// One secret, valid from `start`.
    #[must_use]
    pub fn starting_with(start: u64, secret: LedgerSecret) -> Self {
        Self { by_start: BTreeMap::from([(start, Arc::new(secret))]) }
    }

    /// Adds a secret, valid from `start` on.
    pub fn insert(&mut self, start: u64, secret: LedgerSecret) {
        self.by_start.insert(start, Arc::new(secret));
    }

    /// Adds a secret that others hold too, valid from `start` on.
    pub fn share(&mut self, start: u64, secret: &Arc<LedgerSecret>) {
        self.by_start.insert(start, Arc::clone(secret));
    }

    /// The secret in force at `seqno`.
    #[must_use]
    pub fn at(&self, seqno: u64) -> Option<&Arc<LedgerSecret>> {
        self.by_start.range(..=seqno).next_back().map(|(_, secret)| secret)
    }

    /// The newest secret, and the seqno from which it is valid.
    #[must_use]
    pub fn latest(&self) -> Option<(u64, &Arc<LedgerSecret>)> {
        self.by_start.last_key_value().map(|(start, secret)| (*start, secret))
    }

    /// Every secret, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Arc<LedgerSecret>)> {
        self.by_start.iter().map(|(start, secret)| (*start, secret))
    }

    /// Forgets secrets that start after `seqno`: their introduction was rolled back.
    pub fn roll_back(&mut self, seqno: u64) {
        self.by_start.retain(|start, _| *start <= seqno.saturating_add(1));
    }
}
