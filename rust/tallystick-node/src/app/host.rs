//! What a script reaches during one attempt at a request: the transaction and the node behind it.
use std::sync::Arc;

use bytes::Bytes;
use tallystick_core::types::{Digest, TxId};
use tallystick_js::api::Access as ScriptAccess;
use tallystick_js::app::{AppHost, HistoricalState, LogLevel};

use super::{App, AppLog};
use crate::kv::{Access, Context, Transaction, namespace, permitted};

/// One attempt.
pub(super) struct Host {
    pub(super) app: Arc<App>,
    pub(super) transaction: Transaction,
    pub(super) context: Context,
    pub(super) apply_writes: Option<bool>,
    pub(super) claims_digest: Digest,
}

impl AppHost for Host {
    fn access(&self, table: &str) -> ScriptAccess {
        match namespace(table).map(|namespace| permitted(self.context, namespace)) {
            Ok(Access::ReadWrite) => ScriptAccess::ReadWrite,
            Ok(Access::ReadOnly) => ScriptAccess::ReadOnly,
            Ok(Access::WriteOnly) => ScriptAccess::WriteOnly,
            Ok(Access::None) | Err(_) => ScriptAccess::Inaccessible,
        }
    }

    fn read_only(&self) -> bool {
        self.context == Context::ReadOnlyApplication
    }

    fn get(&mut self, table: &str, key: &[u8]) -> Option<Bytes> {
        self.transaction.get(table, key)
    }

    fn version(&mut self, table: &str, key: &[u8]) -> Option<u64> {
        self.transaction.version_of_previous_write(table, key)
    }

    fn size(&mut self, table: &str) -> usize {
        self.transaction.len(table)
    }

    fn entries(&mut self, table: &str) -> Vec<(Bytes, Bytes)> {
        self.transaction.entries(table)
    }

    fn write(&mut self, table: &str, key: Bytes, value: Option<Bytes>) {
        match value {
            Some(value) => self.transaction.set(table, key, value),
            None => self.transaction.remove(table, key),
        }
    }

    fn clear(&mut self, table: &str) {
        self.transaction.clear(table);
    }

    fn last_committed(&self) -> (u64, u64) {
        let txid = self.app.sequencer.committed();
        (txid.view, txid.seqno)
    }

    fn status(&self, view: u64, seqno: u64) -> &'static str {
        self.app.sequencer.status(TxId { view, seqno }).name()
    }

    fn view_at(&self, seqno: u64) -> Option<u64> {
        self.app.sequencer.view_at(seqno)
    }

    fn historical(
        &mut self,
        handle: u64,
        first: u64,
        last: u64,
        _expiry_seconds: u64,
    ) -> Result<Option<Vec<Arc<HistoricalState>>>, String> {
        self.app.history.range(handle, first, last)
    }

    fn drop_historical(&mut self, handle: u64) -> bool {
        self.app.history.drop_range(handle)
    }

    fn set_apply_writes(&mut self, apply: bool) {
        self.apply_writes = Some(apply);
    }

    fn set_claims_digest(&mut self, digest: [u8; 32]) {
        self.claims_digest = digest;
    }

    fn log(&mut self, level: LogLevel, text: &str) {
        let log: &dyn AppLog = &*self.app.log;
        if log.wants(level) {
            log.line("app", level, text);
        }
    }
}
