//! Signatures verified before anybody has said under which keys they must hold.
use std::collections::HashMap;
use std::sync::Arc;

use super::PublicKey;
use super::batch::{Check, Claim, Early};
use crate::scan::SignatureRecord;
use crate::sigtx::RawSignature;
use crate::x509::Certificate;

/// Certificates of which the keys are remembered. A service has a handful of nodes; beyond that, parsing again costs
/// little beside verifying.
const MAX_KEYS: usize = 64;

/// Verifies node signatures under the keys of the certificates beside them, ahead of [`super::Batch::submit`].
///
/// A verdict is about a key, a root and a signature; it is used only if the very same check is submitted, so that an
/// embedded certificate decides nothing. What is verified in vain is at most what one queue holds.
pub struct HeadStart {
    early: Early,
    keys: HashMap<String, Option<Arc<PublicKey>>>,
}

impl HeadStart {
    pub(super) fn new(early: Early) -> Self {
        Self { early, keys: HashMap::new() }
    }

    /// Queues the node signatures of `records` that lie over the root that was computed. False once nothing is to be
    /// offered any more: checks are being submitted, or the queue is full.
    pub fn offer(&mut self, records: &[SignatureRecord]) -> bool {
        for record in records {
            let (Some(raw), Some(root), true) = (&record.raw, record.root, record.root_holds) else {
                continue;
            };
            let Some(key) = self.key_of(raw) else { continue };
            if !self.early.offer(Check {
                key,
                claim: Claim::Prehashed(root),
                signature: raw.signature.clone(),
            }) {
                return false;
            }
        }
        true
    }

    /// The key in the certificate, if it is that of the node that is said to have signed.
    fn key_of(&mut self, raw: &RawSignature) -> Option<Arc<PublicKey>> {
        let pem = raw.certificate.as_deref()?;
        if let Some(known) = self.keys.get(pem) {
            return known.clone();
        }
        let key = Certificate::parse(pem.as_bytes())
            .ok()
            .filter(|certificate| certificate.spki_sha256() == raw.node)
            .and_then(|certificate| PublicKey::from_spki(certificate.spki()).ok())
            .map(Arc::new);
        if self.keys.len() >= MAX_KEYS {
            self.keys.clear();
        }
        self.keys.insert(pem.to_owned(), key.clone());
        key
    }
}
