//! The second stage of a scan, on all cores: parses, checks and hashes the entries of one segment, without
//! knowing anything of what comes before it.
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Level;
use super::finding::{Finding, Place, ScanCode};
use super::framer::Segment;
use crate::export::Columns;
use crate::ledger::domain::{Domain, DomainError, EntryType, PublicHead, Visitor, walk};
use crate::ledger::entry::{Entry, EntryView, leaf, peek_txid};
use crate::limits::MAX_TREE_SIZE;
use crate::merkle::{CompactTree, hash_pair};
use crate::sigtx::{CoseSignature, RawSignature, parse_cose, parse_raw};
use crate::types::{Digest, TxId};

const GOVERNANCE: &str = "public:ccf.gov.";
const INTERNAL: &str = "public:ccf.internal.";
const RAW_TABLE: &str = "public:ccf.internal.signatures";
const COSE_TABLE: &str = "public:ccf.internal.cose_signatures";
const TREE_TABLE: &str = "public:ccf.internal.tree";
/// The one key of a table that holds a single value.
const SINGLETON: [u8; 8] = [0; 8];

/// Consecutive entries whose IVs say: the same view, and seqnos that go up by one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Run {
    /// Index in the segment of the first entry.
    pub start: usize,
    pub count: usize,
    pub first: TxId,
}

/// Where the transactions of a segment stand, and what they are.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Places {
    pub file_index: usize,
    /// Offset in the file of the segment.
    offset: u64,
    /// Where each entry ends in the segment.
    ends: Vec<u32>,
    /// The first entry that is wanted. All indices count from it.
    from: usize,
    pub count: usize,
    pub runs: Vec<Run>,
}

impl Places {
    fn start(&self, index: usize) -> u32 {
        (self.from + index).checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
    }

    fn end(&self, index: usize) -> u32 {
        self.ends.get(self.from + index).copied().unwrap_or_else(|| self.start(index))
    }

    /// Offset in the file of entry `index`.
    pub fn offset_of(&self, index: usize) -> u64 {
        self.offset + u64::from(self.start(index))
    }

    /// Bytes of all wanted entries.
    pub fn bytes(&self) -> u64 {
        u64::from(self.start(self.count)) - u64::from(self.start(0))
    }

    /// What the IV of entry `index` says.
    pub fn txid_of(&self, index: usize) -> Option<TxId> {
        let run = self.runs.get(self.runs.partition_point(|run| run.start <= index).checked_sub(1)?)?;
        Some(TxId { view: run.first.view, seqno: run.first.seqno.saturating_add((index - run.start) as u64) })
    }

    /// Whether the parts fit together, for what came over a network.
    pub fn is_consistent(&self) -> bool {
        let entries = self.from.checked_add(self.count).is_some_and(|end| end <= self.ends.len());
        let mut next = 0_usize;
        let runs = self.runs.iter().all(|run| {
            let follows = run.start == next && run.count > 0;
            next = next.saturating_add(run.count);
            follows
        });
        entries && runs && next == self.count && self.ends.is_sorted()
    }

    /// Entry `index`, for messages about it.
    pub fn place(&self, index: usize) -> Place {
        Place { file_index: self.file_index, offset: self.offset_of(index), txid: self.txid_of(index) }
    }
}

/// A signature transaction as it was found.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SignatureTx {
    /// Index in the segment.
    pub index: usize,
    pub txid: TxId,
    pub offset: u64,
    pub raw: Option<RawSignature>,
    pub cose: Option<CoseSignature>,
    pub tree: Option<Vec<u8>>,
    /// One of its values is not what it should be, and has been reported.
    pub malformed: bool,
}

/// A place up to which the nodes of the tree are complete.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Cut {
    /// Number of leaves of the segment before it.
    pub leaves: usize,
    /// Number of nodes before it.
    pub nodes: usize,
}

/// Everything about a segment that does not depend on the others.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub places: Arc<Places>,
    /// To be given back.
    pub buffer: Vec<u8>,
    pub findings: Vec<Finding>,
    /// See [`Segment`].
    pub starts_file: bool,
    /// See [`Segment`].
    pub ends_complete_chunk: bool,
    /// Below level merkle there are none.
    pub leaves: Vec<Digest>,
    /// Roots of complete subtrees, valid if the first entry has the seqno that its IV says.
    pub nodes: Vec<(u32, Digest)>,
    /// At every signature, at every leaf that a tree was flushed up to, and at the end.
    pub cuts: Vec<Cut>,
    pub signatures: Vec<SignatureTx>,
    /// Their indices, for questions about the order of transactions.
    pub signature_indices: Vec<usize>,
    pub notable: Vec<Entry>,
    /// If they are wanted.
    pub columns: Option<Box<Columns>>,
}

pub(super) fn parse(segment: Segment, level: Level) -> Parsed {
    let mut places = Places {
        file_index: segment.file_index,
        offset: segment.offset,
        ends: segment.ends,
        from: segment.wanted.start,
        count: segment.wanted.len(),
        runs: Vec::new(),
    };
    let mut parsed = Parsed {
        buffer: segment.buffer,
        findings: segment.findings,
        starts_file: segment.starts_file,
        ends_complete_chunk: segment.ends_complete_chunk,
        columns: segment.columns.then(Box::default),
        ..Parsed::default()
    };
    if level >= Level::Merkle {
        parsed.leaves.reserve_exact(places.count);
    }
    for index in 0..places.count {
        let (start, end) = (places.start(index) as usize, places.end(index) as usize);
        let raw = parsed.buffer.get(start..end).unwrap_or(&[]);
        let place =
            Place { file_index: places.file_index, offset: places.offset_of(index), txid: peek_txid(raw) };
        // The framer lets no entry through that is too short for an IV.
        extend_runs(&mut places.runs, index, place.txid.unwrap_or(TxId { view: 0, seqno: 0 }));
        let outcome = parse_entry(raw, index, place, level);
        if level >= Level::Merkle {
            parsed.leaves.push(outcome.leaf);
        }
        if let Some(columns) = &mut parsed.columns {
            let is_signature = outcome.signature.is_some();
            columns.push(raw, place.offset, &outcome.write_set_digest, &outcome.leaf, is_signature);
        }
        parsed.findings.extend(outcome.findings);
        if let Some(signature) = outcome.signature {
            parsed.signature_indices.push(index);
            parsed.signatures.push(signature);
        }
        parsed.notable.extend(outcome.notable);
    }
    if let Some(columns) = &mut parsed.columns {
        columns.transactions.file_index = places.file_index;
    }
    if level >= Level::Merkle {
        build_nodes(&mut parsed, &places.runs);
    }
    parsed.places = Arc::new(places);
    parsed
}

fn extend_runs(runs: &mut Vec<Run>, index: usize, txid: TxId) {
    if let Some(run) = runs.last_mut() {
        let expected = run.first.seqno.checked_add(run.count as u64);
        if run.first.view == txid.view && expected == Some(txid.seqno) {
            run.count += 1;
            return;
        }
    }
    runs.push(Run { start: index, count: 1, first: txid });
}

/// What one entry comes to.
struct Outcome {
    leaf: Digest,
    write_set_digest: Digest,
    findings: Vec<Finding>,
    signature: Option<SignatureTx>,
    notable: Option<Entry>,
}

fn parse_entry(raw: &[u8], index: usize, place: Place, level: Level) -> Outcome {
    let mut outcome = Outcome {
        leaf: [0; 32],
        write_set_digest: [0; 32],
        findings: Vec::new(),
        signature: None,
        notable: None,
    };
    let view = match EntryView::parse_first(raw) {
        Ok(view) => view,
        Err(error) => {
            outcome.findings.push(Finding::of(&error, place));
            outcome.leaf = crate::hash::sha256(raw);
            return outcome;
        }
    };
    let head = match PublicHead::parse(view.public_domain) {
        Ok(head) if head.entry_type != EntryType::Snapshot => head,
        other => {
            let error = other.err().unwrap_or(DomainError::EntryType { actual: EntryType::Snapshot as u8 });
            outcome.findings.push(Finding::of(&error, place));
            outcome.leaf = view.write_set_digest();
            return outcome;
        }
    };
    if level >= Level::Merkle {
        outcome.write_set_digest = view.write_set_digest();
        outcome.leaf = leaf(&outcome.write_set_digest, head.claims_digest, head.commit_evidence_digest);
    }
    let checked = view.check_header(&head);
    let consistent = checked.is_ok();
    if let (Err(error), true) = (checked, level >= Level::Headers) {
        outcome.findings.push(Finding::of(&error, place));
    }
    let mut tables = TableScan::default();
    if let Err(error) = walk(head.maps, Domain::Public, &mut tables) {
        outcome.findings.push(Finding::of(&error, place));
        return outcome;
    }
    if tables.is_signature() {
        outcome.signature =
            Some(signature(&view, &head, &tables, place, index, level, &mut outcome.findings));
    }
    if consistent && tables.notable && (tables.other || !tables.is_signature()) {
        outcome.notable = Entry::new(raw, place.offset).ok();
    }
    outcome
}

/// Which of the tables of a signature transaction the walk is in.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Current {
    #[default]
    Other,
    Raw,
    Cose,
    Tree,
}

/// The writes to one table that must hold a single value.
#[derive(Debug, Default, Clone, Copy)]
struct Singleton<'a> {
    present: bool,
    value: Option<&'a [u8]>,
    /// Another key, or a remove.
    odd: bool,
}

/// Looks for what a scan cares about among the tables of a transaction.
#[derive(Debug, Default)]
struct TableScan<'a> {
    current: Current,
    raw: Singleton<'a>,
    cose: Singleton<'a>,
    tree: Singleton<'a>,
    /// A table that signature transactions do not have.
    other: bool,
    first_other: Option<&'a str>,
    /// A governance or internal table.
    notable: bool,
}

impl<'a> TableScan<'a> {
    fn is_signature(&self) -> bool {
        self.raw.present || self.cose.present || self.tree.present
    }

    fn singleton(&mut self) -> Option<&mut Singleton<'a>> {
        match self.current {
            Current::Other => None,
            Current::Raw => Some(&mut self.raw),
            Current::Cose => Some(&mut self.cose),
            Current::Tree => Some(&mut self.tree),
        }
    }
}

impl<'a> Visitor<'a> for TableScan<'a> {
    #[inline]
    fn map(&mut self, name: &'a str) {
        let internal = name.starts_with(INTERNAL);
        self.notable |= internal || name.starts_with(GOVERNANCE);
        self.current = match name {
            RAW_TABLE if internal => Current::Raw,
            COSE_TABLE if internal => Current::Cose,
            TREE_TABLE if internal => Current::Tree,
            _ => Current::Other,
        };
        if let Some(singleton) = self.singleton() {
            singleton.present = true;
        } else {
            self.other = true;
            self.first_other.get_or_insert(name);
        }
    }
    #[inline]
    fn write(&mut self, key: &'a [u8], value: &'a [u8]) {
        if let Some(singleton) = self.singleton() {
            if key == SINGLETON {
                singleton.value = Some(value);
            } else {
                singleton.odd = true;
            }
        }
    }
    #[inline]
    fn remove(&mut self, _key: &'a [u8]) {
        if let Some(singleton) = self.singleton() {
            singleton.odd = true;
        }
    }
}

fn signature(
    view: &EntryView<'_>,
    head: &PublicHead<'_>,
    tables: &TableScan<'_>,
    place: Place,
    index: usize,
    level: Level,
    findings: &mut Vec<Finding>,
) -> SignatureTx {
    let mut transaction = SignatureTx {
        index,
        txid: view.txid(),
        offset: place.offset,
        raw: None,
        cose: None,
        tree: None,
        malformed: false,
    };
    let first = findings.len();
    let all = [(RAW_TABLE, &tables.raw), (COSE_TABLE, &tables.cose), (TREE_TABLE, &tables.tree)];
    for (name, singleton) in all.into_iter().filter(|(_, singleton)| singleton.present) {
        if singleton.odd || singleton.value.is_none() {
            let message = format!(
                "table {name}: expected one value under the key of eight zero bytes, got another shape"
            );
            findings.push(Finding::scan(ScanCode::SignatureTableShape, message, place));
        }
    }
    if let Some(value) = tables.raw.value {
        match parse_raw(value) {
            Ok(raw) => transaction.raw = Some(raw),
            Err(error) => findings.push(Finding::of(&error, place)),
        }
    }
    if let Some(value) = tables.cose.value {
        match parse_cose(value) {
            Ok(cose) => transaction.cose = Some(cose),
            Err(error) => findings.push(Finding::of(&error, place)),
        }
    }
    transaction.tree = tables.tree.value.map(<[u8]>::to_vec);
    if level < Level::Headers {
        findings.truncate(first);
        return transaction;
    }
    let claimed = [
        ("node signature", transaction.raw.as_ref().map(|raw| raw.txid)),
        ("COSE signature", transaction.cose.as_ref().map(|cose| cose.txid)),
    ];
    for (what, txid) in claimed {
        if let Some(actual) = txid.filter(|txid| *txid != view.txid()) {
            let message = format!("{what}: expected transaction {}, got {actual}", view.txid());
            findings.push(Finding::scan(ScanCode::SignatureTxid, message, place));
        }
    }
    transaction.malformed = findings.len() > first;
    shape_findings(view, head, tables, place, findings);
    transaction
}

/// What is wrong with a signature transaction beside its values.
fn shape_findings(
    view: &EntryView<'_>,
    head: &PublicHead<'_>,
    tables: &TableScan<'_>,
    place: Place,
    findings: &mut Vec<Finding>,
) {
    let mut report = |code, message: String| findings.push(Finding::scan(code, message, place));
    if let Some(name) = tables.first_other {
        let message =
            format!("signature transaction: expected no table but signatures and tree, got {name:?}");
        report(ScanCode::SignatureExtraTable, message);
    }
    if !tables.raw.present && !tables.cose.present {
        let message = "signature transaction: expected a node or a COSE signature, got a Merkle tree alone";
        report(ScanCode::SignatureMissing, message.into());
    }
    if !tables.tree.present {
        report(
            ScanCode::SignatureTreeMissing,
            format!("signature transaction: expected {TREE_TABLE}, got no such table"),
        );
    }
    if let Some(claims) = head.claims_digest.filter(|claims| **claims != [0; 32]) {
        let claims = crate::types::to_hex(claims);
        report(
            ScanCode::SignatureClaims,
            format!("signature transaction: expected a claims digest of zeros, got {claims}"),
        );
    }
    if !view.private_domain.is_empty() {
        let bytes = view.private_domain.len();
        report(
            ScanCode::SignaturePrivate,
            format!("signature transaction: expected no private part, got {bytes} bytes"),
        );
    }
}

/// Hashes the leaves into the largest complete subtrees between the places where the fold has to stop.
fn build_nodes(parsed: &mut Parsed, runs: &[Run]) {
    let count = parsed.leaves.len();
    let first = runs.first().map(|run| run.first.seqno);
    // The fold does without nodes if there are none.
    let Some(first) = first.filter(|first| *first < MAX_TREE_SIZE / 2) else { return };
    let mut stops: Vec<usize> = parsed.signatures.iter().map(|signature| signature.index).collect();
    for value in parsed.signatures.iter().filter_map(|signature| signature.tree.as_deref()) {
        let flushed = CompactTree::parse(value).ok().and_then(|tree| tree.first_kept().checked_sub(first));
        stops
            .extend(flushed.and_then(|leaves| usize::try_from(leaves).ok()).filter(|leaves| *leaves < count));
    }
    stops.push(count);
    stops.sort_unstable();
    stops.dedup();
    let mut rest = parsed.leaves.as_slice();
    let mut done = 0;
    for stop in stops {
        let Some((piece, after)) = rest.split_at_checked(stop - done) else { return };
        add_piece(&mut parsed.nodes, piece, first.saturating_add(done as u64));
        parsed.cuts.push(Cut { leaves: stop, nodes: parsed.nodes.len() });
        (rest, done) = (after, stop);
    }
}

/// Appends the nodes over `piece`, whose first leaf has number `first` in the tree.
fn add_piece(nodes: &mut Vec<(u32, Digest)>, piece: &[Digest], first: u64) {
    let base = nodes.len();
    for (leaf, index) in piece.iter().zip(first..) {
        let (mut level, mut node) = (0, *leaf);
        // A node with an odd number is a right child; if its sibling is in this piece too, it was the last to be added.
        while (index >> level) & 1 == 1 && nodes.len() > base {
            let Some((_, left)) = nodes.pop_if(|(left_level, _)| *left_level == level) else { break };
            node = hash_pair(&left, &node);
            level += 1;
        }
        nodes.push((level, node));
    }
}
