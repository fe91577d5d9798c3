//! What an application's script can reach, and the state that its natives share with the caller.
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::api::Access;

/// How important a line of `console` is, in CCF's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `console.log` and `console.info`.
    Info,
    /// `console.warn`.
    Fail,
    /// `console.error`.
    Fatal,
}

/// One transaction of the past, as scripts see it.
#[derive(Clone, Debug)]
pub struct HistoricalState {
    /// `view.seqno`.
    pub transaction_id: String,
    /// The receipt, as JSON text.
    pub receipt: String,
    /// What the transaction wrote: table, key, value; `None` is a removal.
    pub tables: BTreeMap<String, BTreeMap<Bytes, Option<Bytes>>>,
}

/// The world as an application's script sees it during one request.
pub trait AppHost: Any {
    /// What may be done with `table`.
    fn access(&self, table: &str) -> Access;
    /// Whether writes are refused for what the endpoint is, and not for what the table is.
    fn read_only(&self) -> bool;
    /// The value at `key`.
    fn get(&mut self, table: &str, key: &[u8]) -> Option<Bytes>;
    /// Seqno of the last write of `key` before this transaction.
    fn version(&mut self, table: &str, key: &[u8]) -> Option<u64>;
    /// Number of keys.
    fn size(&mut self, table: &str) -> usize;
    /// All entries.
    fn entries(&mut self, table: &str) -> Vec<(Bytes, Bytes)>;
    /// Writes, or with `None` removes.
    fn write(&mut self, table: &str, key: Bytes, value: Option<Bytes>);
    /// Removes every key.
    fn clear(&mut self, table: &str);
    /// View and seqno of the last committed transaction.
    fn last_committed(&self) -> (u64, u64);
    /// Status of a transaction ID.
    fn status(&self, view: u64, seqno: u64) -> &'static str;
    /// The view in which `seqno` was written.
    fn view_at(&self, seqno: u64) -> Option<u64>;
    /// Transactions `first` to `last`, or `None` while they are being fetched.
    ///
    /// # Errors
    /// Text of the exception that the script gets.
    fn historical(
        &mut self,
        handle: u64,
        first: u64,
        last: u64,
        expiry_seconds: u64,
    ) -> Result<Option<Vec<Arc<HistoricalState>>>, String>;
    /// Forgets what was fetched for `handle`; says whether there was anything.
    fn drop_historical(&mut self, handle: u64) -> bool;
    /// Overrides the rule that only a 2xx answer commits.
    fn set_apply_writes(&mut self, apply: bool);
    /// Attaches claims to the transaction.
    fn set_claims_digest(&mut self, digest: [u8; 32]);
    /// A line of `console`.
    fn log(&mut self, level: LogLevel, text: &str);
}

/// What the natives of one interpreter share with whoever runs it.
#[derive(Default)]
pub(super) struct Slot {
    /// Present while a request is being executed.
    pub(super) host: RefCell<Option<Box<dyn AppHost>>>,
    /// Body of the request.
    pub(super) body: RefCell<Bytes>,
    /// States that handles of this request refer to, by index.
    pub(super) states: RefCell<Vec<Arc<HistoricalState>>>,
    /// When the script is to be stopped.
    pub(super) deadline: Cell<Option<Instant>>,
    /// The script was stopped.
    pub(super) interrupted: Cell<bool>,
    /// The top level of a module used something that another evaluation could find changed.
    pub(super) unrepeatable: Cell<bool>,
    /// A module that was asked for could not be given.
    pub(super) load_failed: Cell<bool>,
    /// Whether a line is logged about each execution.
    pub(super) metrics: Cell<bool>,
}

/// A slot shared by the natives of one interpreter.
pub(super) type SharedSlot = Rc<Slot>;

impl Slot {
    /// Forgets the request.
    pub(super) fn clear(&self) {
        *self.host.borrow_mut() = None;
        *self.body.borrow_mut() = Bytes::new();
        self.states.borrow_mut().clear();
        self.deadline.set(None);
    }

    /// Whether the deadline has passed; remembers that it has.
    pub(super) fn late(&self) -> bool {
        let late = self.deadline.get().is_some_and(|deadline| Instant::now() >= deadline);
        if late {
            self.interrupted.set(true);
        }
        late
    }
}
