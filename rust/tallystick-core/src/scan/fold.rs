//! The third stage of a scan, in ledger order: seqnos and views that follow each other, and the tree.
//!
//! Invariants, with `next` = the seqno that the next transaction has to have:
//! 1. once there is a tree, its size is `next`;
//! 2. `window` holds the leaves of the transactions before `next`, as far back as [`WINDOW_LEAVES`] or as the last
//!    place where the order of the ledger was broken;
//! 3. `shift` is by how much seqnos are off since the last finding about it; it is reported when it changes.
use std::collections::VecDeque;
use std::sync::Arc;

use super::finding::{Finding, Place, ScanCode};
use super::record::SignatureRecord;
use super::segment::{Cut, Parsed, Places, Run, SignatureTx};
use super::{Batch, Level};
use crate::merkle::{CompactTree, Frontier};
use crate::types::{Digest, TxId, to_hex};

/// Leaves that are kept for comparison with the trees in signature transactions. CCF nodes compact their tree at
/// every signature, so real trees keep the leaves since the signature before; 2 MiB is enough for far more.
const WINDOW_LEAVES: usize = 1 << 16;
/// Trees that are kept for the same comparison.
const KEPT_TREES: usize = 256;

/// See the module.
pub(super) struct Fold {
    level: Level,
    next: Option<u64>,
    shift: i128,
    previous_view: Option<u64>,
    /// Whether the view may change now.
    may_change_view: bool,
    tree: Option<Frontier>,
    first_proven: u64,
    window: Window,
    /// Past states of `tree`, oldest first.
    past: VecDeque<Frontier>,
    findings: Vec<Finding>,
}

/// The last leaves, and where their transactions stand.
#[derive(Default)]
struct Window {
    first: u64,
    leaves: Vec<Digest>,
    /// The segments that they come from, each with the number that the leaf of its first entry has.
    sources: VecDeque<(u64, Arc<Places>)>,
}

impl Window {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.leaves.len() as u64)
    }

    fn restart(&mut self, first: u64) {
        self.leaves.clear();
        self.sources.clear();
        self.first = first;
    }

    /// Appends `leaves`, those of the entries of `places` from the `index`th on.
    fn extend(&mut self, leaves: &[Digest], index: usize, places: &Arc<Places>) {
        // It wraps where seqnos make no sense; then no number leads to the source.
        let base = self.end().wrapping_sub(index as u64);
        let known = self.sources.back().is_some_and(|(known, of)| *known == base && Arc::ptr_eq(of, places));
        if !known {
            self.sources.push_back((base, Arc::clone(places)));
        }
        self.leaves.extend_from_slice(leaves);
    }

    /// Drops the oldest once there are twice as many as are kept.
    fn trim(&mut self) {
        if self.leaves.len() > 2 * WINDOW_LEAVES {
            let dropped = self.leaves.len() - WINDOW_LEAVES;
            self.leaves.drain(..dropped);
            self.first = self.first.saturating_add(dropped as u64);
            while self.sources.get(1).is_some_and(|(base, _)| *base <= self.first) {
                self.sources.pop_front();
            }
        }
    }

    /// The leaves from number `first` on.
    fn from(&self, first: u64) -> Option<&[Digest]> {
        self.leaves.get(usize::try_from(first.checked_sub(self.first)?).ok()?..)
    }

    fn leaf(&self, number: u64) -> Option<&Digest> {
        self.leaves.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn place(&self, number: u64) -> Option<Place> {
        let (base, places) = self.sources.iter().rev().find(|(base, _)| *base <= number)?;
        Some(places.place(usize::try_from(number - base).ok()?))
    }
}

/// Where the fold goes on from.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// The tree before the first transaction; `None` starts from the first tree in a signature transaction.
    pub tree: Option<Frontier>,
    /// The seqno that the first transaction must have; `None` takes any.
    pub first_seqno: Option<u64>,
    /// The view of the transaction before it.
    pub previous_view: Option<u64>,
    /// Whether the transaction before it is a signature transaction.
    pub previous_was_signature: bool,
}

impl Fold {
    pub fn new(level: Level, start: Start) -> Self {
        let tree = start.tree.filter(|_| level >= Level::Merkle);
        let next = tree.as_ref().map(Frontier::size).or(start.first_seqno);
        let mut window = Window::default();
        window.restart(next.unwrap_or(0));
        let mut fold = Self {
            level,
            next: start.first_seqno.or(next),
            shift: 0,
            previous_view: start.previous_view,
            may_change_view: start.previous_was_signature || start.previous_view.is_none(),
            first_proven: next.unwrap_or(0),
            tree,
            window,
            past: VecDeque::new(),
            findings: Vec::new(),
        };
        if fold.next != next {
            // The tree ends elsewhere, so it is of no use for what comes.
            fold.break_order(fold.next.unwrap_or(0));
        }
        fold
    }

    pub fn tree(&self) -> Option<&Frontier> {
        self.tree.as_ref()
    }

    /// The ledger does not go on where it should, but at `seqno`.
    fn break_order(&mut self, seqno: u64) {
        self.next = Some(seqno);
        self.shift = 0;
        self.tree = None;
        self.past.clear();
        self.window.restart(seqno);
        self.first_proven = seqno;
    }

    /// Folds the next segment; the buffer comes back in the second value.
    pub fn segment(&mut self, mut parsed: Parsed) -> (Batch, Vec<u8>) {
        let places = Arc::clone(&parsed.places);
        let count = places.count;
        self.findings = std::mem::take(&mut parsed.findings);
        if let (true, Some(run)) = (parsed.starts_file, places.runs.first()) {
            self.enter_file(&places, run.first);
        }
        let first_seqno = self.next.unwrap_or(0);
        if self.level >= Level::Headers {
            self.check_order(&parsed, first_seqno);
        }
        let signatures = self.fold_leaves(&mut parsed, first_seqno);
        if let Some(last) = count.checked_sub(1) {
            self.previous_view = places.txid_of(last).map(|txid| txid.view);
            self.may_change_view = is_signature(&parsed, last);
            if parsed.ends_complete_chunk && !self.may_change_view && self.level >= Level::Headers {
                let message = "complete chunk: expected a signature transaction at its end, got another one";
                let code = ScanCode::ChunkEndNotSignature;
                self.findings.push(Finding::scan(code, message.into(), places.place(last)));
            }
        }
        let mut findings = std::mem::take(&mut self.findings);
        findings.sort_by_key(|finding| (finding.file_index, finding.offset));
        let batch = Batch {
            file_index: places.file_index,
            first_seqno,
            count: count as u64,
            bytes: places.bytes(),
            last_view: self.previous_view.unwrap_or(0),
            last_offset: places.offset_of(count.saturating_sub(1)),
            signatures,
            notable: parsed.notable,
            findings,
            leaves: parsed.leaves,
            columns: parsed.columns,
        };
        (batch, parsed.buffer)
    }

    /// Across files, a jump is a missing or a repeated file: nothing that is known goes on.
    fn enter_file(&mut self, places: &Places, first: TxId) {
        match self.next {
            Some(expected) if expected != first.seqno => {
                if self.level >= Level::Headers {
                    self.report_seqno(places.place(0), expected, first.seqno);
                }
                self.break_order(first.seqno);
                // Whether the missing transactions end in a signature cannot be known.
                self.may_change_view = true;
            }
            Some(_) => {}
            None => self.break_order(first.seqno),
        }
    }

    fn report_seqno(&mut self, place: Place, expected: u64, actual: u64) {
        let code = if actual > expected { ScanCode::SeqnoGap } else { ScanCode::SeqnoRepeated };
        let message = format!("next transaction: expected seqno {expected}, got {actual}");
        self.findings.push(Finding::scan(code, message, place));
    }

    /// Seqnos and views, run by run.
    fn check_order(&mut self, parsed: &Parsed, first_seqno: u64) {
        for Run { start, first, .. } in parsed.places.runs.iter().copied() {
            let expected = first_seqno.saturating_add(start as u64);
            let shift = i128::from(first.seqno) - i128::from(expected);
            if shift != self.shift && shift != 0 {
                // What the previous shift leads to one to expect is the better message.
                let continued = u64::try_from(i128::from(expected) + self.shift).unwrap_or(expected);
                self.report_seqno(parsed.places.place(start), continued, first.seqno);
            }
            self.shift = shift;
            self.check_view(parsed, start, first);
        }
    }

    fn check_view(&mut self, parsed: &Parsed, start: usize, first: TxId) {
        let may_change = if start == 0 { self.may_change_view } else { is_signature(parsed, start - 1) };
        let previous = self.previous_view.replace(first.view);
        let Some(previous) = previous.filter(|previous| *previous != first.view) else { return };
        let place = parsed.places.place(start);
        if first.view < previous {
            let message = format!("view: expected {previous} or above, got {}", first.view);
            self.findings.push(Finding::scan(ScanCode::ViewDecreases, message, place));
        } else if !may_change {
            let message = format!(
                "view: expected {previous} as in the transaction before, which is not a signature, got {}",
                first.view
            );
            self.findings.push(Finding::scan(ScanCode::ViewChangeUnsigned, message, place));
        }
    }

    /// Appends the leaves, stopping at every signature.
    fn fold_leaves(&mut self, parsed: &mut Parsed, first_seqno: u64) -> Vec<SignatureRecord> {
        let (count, file_index) = (parsed.places.count, parsed.places.file_index);
        let signatures = std::mem::take(&mut parsed.signatures);
        if self.level < Level::Merkle {
            self.next = self.next.map(|next| next.saturating_add(count as u64));
            return signatures.into_iter().map(|found| SignatureRecord::new(found, file_index)).collect();
        }
        let mut records = Vec::with_capacity(signatures.len());
        let mut aligned = parsed.places.runs.first().is_some_and(|run| run.first.seqno == first_seqno);
        let mut done = Cut::default();
        let mut cuts = std::mem::take(&mut parsed.cuts).into_iter().peekable();
        for signature in signatures {
            while let Some(cut) = cuts.next_if(|cut| cut.leaves <= signature.index) {
                self.advance(parsed, &mut done, cut, aligned);
            }
            // There is a cut at every signature, or there are none at all.
            let here = Cut { leaves: signature.index, ..done };
            self.advance(parsed, &mut done, here, false);
            let next = self.next;
            records.push(self.signature(signature, file_index));
            aligned &= self.next == next;
        }
        for cut in cuts {
            self.advance(parsed, &mut done, cut, aligned);
        }
        let end = Cut { leaves: count, ..done };
        self.advance(parsed, &mut done, end, false);
        self.window.trim();
        records
    }

    /// Appends the leaves up to a cut, by whole subtrees where that is possible.
    fn advance(&mut self, parsed: &Parsed, done: &mut Cut, to: Cut, aligned: bool) {
        let leaves = parsed.leaves.get(done.leaves..to.leaves).unwrap_or(&[]);
        let nodes = parsed.nodes.get(done.nodes..to.nodes).unwrap_or(&[]);
        if leaves.is_empty() {
            return;
        }
        self.window.extend(leaves, done.leaves, &parsed.places);
        let before = self.next.unwrap_or(0);
        if let Some(tree) = &mut self.tree {
            if !aligned || nodes.iter().any(|(level, root)| tree.append_subtree(*level, root).is_err()) {
                // By invariant 1 no subtree has failed to fit; if one did, what it stands for is appended here.
                let appended = usize::try_from(tree.size().saturating_sub(before)).unwrap_or(usize::MAX);
                tree.append_many(leaves.get(appended..).unwrap_or(&[]));
            }
            self.past.push_back(tree.clone());
            if self.past.len() > KEPT_TREES {
                self.past.pop_front();
            }
        }
        self.next = Some(before.saturating_add(leaves.len() as u64));
        *done = to;
    }

    /// One signature transaction: what it claims, against the tree so far.
    fn signature(&mut self, found: SignatureTx, file_index: usize) -> SignatureRecord {
        let place = Place { file_index, offset: found.offset, txid: Some(found.txid) };
        let mut record = SignatureRecord::new(found, file_index);
        let tree_value = record.tree.take();
        let compact = match tree_value.as_deref().map(CompactTree::parse) {
            Some(Ok(compact)) => Some(compact),
            Some(Err(error)) => {
                self.findings.push(Finding::of(&error, place));
                record.malformed = true;
                None
            }
            None => None,
        };
        let compact = compact.filter(|compact| {
            let fits = compact.size() == record.txid.seqno;
            if !fits {
                let message = format!(
                    "tree of a signature transaction: expected {} leaves, got {}",
                    record.txid.seqno,
                    compact.size()
                );
                self.findings.push(Finding::scan(ScanCode::SignatureTreeSize, message, place));
                record.malformed = true;
            }
            fits
        });
        match self.tree.as_ref().map(Frontier::root) {
            Some(root) => self.compare(&mut record, compact, root, place),
            None => self.anchor(&mut record, compact, place),
        }
        record
    }

    /// Compares the claims of a signature transaction with the computed root.
    fn compare(
        &mut self,
        record: &mut SignatureRecord,
        compact: Option<CompactTree<'_>>,
        root: Digest,
        place: Place,
    ) {
        record.root = Some(root);
        record.first_proven = Some(self.first_proven);
        let tree_root = compact.map(|compact| if self.is_ours(&compact) { root } else { compact.root() });
        let raw_root = record.raw.as_ref().map(|raw| raw.root);
        let raw_holds = raw_root.is_none_or(|claimed| claimed == root);
        let tree_holds = tree_root.is_none_or(|claimed| claimed == root);
        record.root_holds = raw_holds && tree_holds && !record.malformed;
        match (raw_holds, tree_holds, compact, tree_root) {
            (true, true, ..) => {}
            (_, false, Some(compact), Some(tree_root))
                if raw_root.is_none_or(|claimed| claimed == tree_root) =>
            {
                // Signature and tree agree with each other: the transactions before them are not those that were signed.
                self.report_mismatch(&compact, root, tree_root, place);
                self.re_anchor(&compact, record.txid.seqno);
            }
            (true, ..) => {
                let actual = tree_root.map_or_else(String::new, |tree_root| to_hex(&tree_root));
                let message =
                    format!("tree of a signature transaction: expected root {}, got {actual}", to_hex(&root));
                self.findings.push(Finding::scan(ScanCode::SignatureTreeRoot, message, place));
            }
            (false, ..) => {
                let actual = raw_root.map_or_else(String::new, |claimed| to_hex(&claimed));
                let message = format!("signed root: expected {}, got {actual}", to_hex(&root));
                self.findings.push(Finding::scan(ScanCode::RootMismatch, message, place));
            }
        }
    }

    /// Whether `compact` is just how the tree so far would be written; then it need not be hashed.
    fn is_ours(&self, compact: &CompactTree<'_>) -> bool {
        let first = compact.first_kept();
        self.next == Some(compact.size())
            && self.window.from(first) == Some(compact.leaves())
            && self
                .past
                .binary_search_by_key(&first, Frontier::size)
                .ok()
                .and_then(|at| self.past.get(at))
                .is_some_and(|past| past.peaks().iter().rev().eq(compact.flushed()))
    }

    /// Starts from the tree of a signature transaction, for want of one to go on from.
    fn anchor(&mut self, record: &mut SignatureRecord, compact: Option<CompactTree<'_>>, place: Place) {
        let Some(compact) = compact else { return };
        let root = compact.root();
        if let Some(claimed) = record.raw.as_ref().map(|raw| raw.root).filter(|claimed| *claimed != root) {
            let message = format!(
                "signed root: expected {} as of the tree beside it, got {}",
                to_hex(&root),
                to_hex(&claimed)
            );
            self.findings.push(Finding::scan(ScanCode::SignatureRootsDiffer, message, place));
            return;
        }
        let differs = self.last_difference(&compact).is_some();
        if differs {
            self.report_mismatch(&compact, root, root, place);
        }
        let window_first = self.window.first;
        self.re_anchor(&compact, record.txid.seqno);
        self.first_proven = self.first_proven.max(window_first);
        record.root = Some(root);
        record.first_proven = Some(self.first_proven);
        record.root_holds = !record.malformed && !differs;
    }

    /// The leaves that both `compact` and the window hold, with their numbers.
    fn shared_leaves<'c>(
        &self,
        compact: &CompactTree<'c>,
    ) -> impl DoubleEndedIterator<Item = (u64, &'c Digest)> {
        let first = compact.first_kept().max(self.window.first);
        let skipped = usize::try_from(first - compact.first_kept()).unwrap_or(usize::MAX);
        let held = usize::try_from(self.window.end().saturating_sub(first)).unwrap_or(usize::MAX);
        let leaves = compact.leaves().get(skipped..).unwrap_or(&[]);
        let leaves = leaves.get(..held.min(leaves.len())).unwrap_or(&[]);
        leaves.iter().enumerate().map(move |(at, leaf)| (first.saturating_add(at as u64), leaf))
    }

    fn differs(&self, (index, leaf): &(u64, &Digest)) -> bool {
        self.window.leaf(*index).is_some_and(|ours| ours != *leaf)
    }

    fn last_difference(&self, compact: &CompactTree<'_>) -> Option<u64> {
        self.shared_leaves(compact).rev().find(|pair| self.differs(pair)).map(|(index, _)| index)
    }

    /// Says which transaction is not the signed one, if the kept leaves of `compact` tell.
    fn report_mismatch(&mut self, compact: &CompactTree<'_>, root: Digest, signed: Digest, place: Place) {
        let signature = place.txid.map_or_else(String::new, |txid| txid.to_string());
        let first = self.shared_leaves(compact).find(|pair| self.differs(pair));
        let ours = first.and_then(|(index, leaf)| Some((index, leaf, self.window.leaf(index)?)));
        let Some((index, expected, actual)) = ours else {
            let message = format!(
                "root signed at {signature}: expected {}, got {}; what differs is missing, or stands before seqno {}",
                to_hex(&root),
                to_hex(&signed),
                compact.first_kept()
            );
            self.findings.push(Finding::scan(ScanCode::RootMismatch, message, place));
            return;
        };
        let message = format!(
            "transaction {index} is not the one signed at {signature}: expected leaf {}, got {}",
            to_hex(expected),
            to_hex(actual)
        );
        let place = self.window.place(index).unwrap_or(place);
        self.findings.push(Finding::scan(ScanCode::LeafDiffers, message, place));
    }

    /// Goes on from the tree that a signature transaction holds. What it proves begins after the last leaf that
    /// is not ours, or at its first kept leaf.
    fn re_anchor(&mut self, compact: &CompactTree<'_>, seqno: u64) {
        let after = self.last_difference(compact).map_or(0, |index| index.saturating_add(1));
        self.first_proven = after.max(compact.first_kept());
        self.tree = Some(compact.frontier());
        self.past.clear();
        if self.next != Some(seqno) {
            self.next = Some(seqno);
            self.shift = 0;
            self.window.restart(seqno);
            self.first_proven = seqno;
        }
    }
}

fn is_signature(parsed: &Parsed, index: usize) -> bool {
    parsed.signature_indices.binary_search(&index).is_ok()
}
