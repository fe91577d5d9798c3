//! Which signature transaction covers which transaction.
use std::collections::VecDeque;

use super::columns::{TransactionColumns, signed};
use crate::scan::SignatureRecord;
use crate::types::Digest;

/// Rows that wait for a signature. CCF signs after 5,000 transactions or a second unless it is configured otherwise;
/// some 200 bytes a row make this 100 MB.
pub const MAX_WAITING_ROWS: usize = 500_000;

/// Holds rows back until the first signature transaction after them whose root is the one computed here over leaves
/// that include theirs. Rows go on without a cover when there is none, or none within [`MAX_WAITING_ROWS`].
///
/// That a root is the computed one says nothing of its signature.
#[derive(Debug, Default)]
pub struct CoverQueue {
    waiting: VecDeque<TransactionColumns>,
    rows: usize,
    /// Rows of the first block that have been looked at.
    done: usize,
}

impl CoverQueue {
    /// Takes the next rows with the signature transactions among them; gives the blocks that need not wait any longer.
    pub fn push<'s>(
        &mut self,
        columns: TransactionColumns,
        signatures: impl IntoIterator<Item = &'s SignatureRecord>,
    ) -> Vec<TransactionColumns> {
        self.rows += columns.len();
        self.waiting.push_back(columns);
        let mut ready = Vec::new();
        for record in signatures {
            if let (Some(root), true, Some(first)) = (record.root, record.root_holds, record.first_proven) {
                self.cover(signed(record.txid.seqno), signed(first), &root, &mut ready);
            }
        }
        while self.rows > MAX_WAITING_ROWS {
            let Some(block) = self.next_block() else { break };
            ready.push(block);
        }
        ready
    }

    /// What is left when there is nothing more: transactions that nothing covers.
    pub fn finish(&mut self) -> Vec<TransactionColumns> {
        let mut left = Vec::new();
        while let Some(block) = self.next_block() {
            left.push(block);
        }
        left
    }

    fn next_block(&mut self) -> Option<TransactionColumns> {
        let block = self.waiting.pop_front()?;
        self.rows -= block.len();
        self.done = 0;
        Some(block)
    }

    /// Covers the waiting rows before seqno `by`, but none before `first`.
    fn cover(&mut self, by: i64, first: i64, root: &Digest, ready: &mut Vec<TransactionColumns>) {
        while let Some(block) = self.waiting.front_mut() {
            let mut at = self.done;
            while let Some(seqno) = block.seqno.get(at).copied().filter(|seqno| *seqno < by) {
                if seqno >= first {
                    if let (Some(signed_by), Some(value)) =
                        (block.signed_by.get_mut(at), block.root.values.get_mut(at))
                    {
                        (*signed_by, *value) = (by, *root);
                    }
                    block.root.present.set(at);
                }
                at += 1;
            }
            self.done = at;
            if at < block.len() {
                return;
            }
            ready.extend(self.next_block());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::Columns;
    use super::{CoverQueue, MAX_WAITING_ROWS, TransactionColumns};

    /// Rows `first..last` as far as a queue looks at them.
    fn rows(first: i64, last: i64) -> TransactionColumns {
        let mut columns = Columns::default();
        for seqno in first..last {
            let mut raw = [0; 44];
            raw[24..32].copy_from_slice(&seqno.to_le_bytes());
            columns.push(&raw, 0, &[0; 32], &[0; 32], false);
        }
        columns.transactions
    }

    fn covers(blocks: &[TransactionColumns]) -> Vec<(i64, Option<i64>)> {
        let of = |block: &TransactionColumns, at| block.root.get(at).map(|_| block.signed_by[at]);
        blocks
            .iter()
            .flat_map(|block| (0..block.len()).map(|at| (block.seqno[at], of(block, at))).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn the_first_signature_after_a_row_covers_it() {
        let (mut queue, mut ready) = (CoverQueue::default(), Vec::new());
        for (first, last) in [(1, 4), (4, 6), (6, 8)] {
            ready.extend(queue.push(rows(first, last), []));
        }
        assert!(ready.is_empty());
        queue.cover(5, 2, &[1; 32], &mut ready);
        assert_eq!(covers(&ready), [(1, None), (2, Some(5)), (3, Some(5))]);
        queue.cover(7, 1, &[2; 32], &mut ready);
        assert_eq!(covers(&ready[1..]), [(4, Some(5)), (5, Some(7))]);
        assert_eq!(ready[1].root.get(1), Some(&[2; 32]));
        assert_eq!(covers(&queue.finish()), [(6, Some(7)), (7, None)]);
        assert!(queue.finish().is_empty());
    }

    #[test]
    fn not_too_many_rows_wait() {
        let mut queue = CoverQueue::default();
        let block = rows(1, 100_001);
        let mut handed_on = 0;
        for _ in 0..9 {
            handed_on += queue.push(block.clone(), []).len();
            assert!(queue.rows <= MAX_WAITING_ROWS);
        }
        assert_eq!(handed_on, 4);
        assert_eq!(queue.finish().len(), 5);
    }
}
