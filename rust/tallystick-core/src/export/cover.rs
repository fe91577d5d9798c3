//! Which signature transaction covers which transaction.
use std::collections::VecDeque;

use super::columns::{TransactionColumns, signed};
use crate::scan::SignatureRecord;

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
            self.cover(record, &mut ready);
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

    fn cover(&mut self, record: &SignatureRecord, ready: &mut Vec<TransactionColumns>) {
        let (Some(root), true, Some(first)) = (record.root, record.root_holds, record.first_proven) else {
            return;
        };
        let (by, first) = (signed(record.txid.seqno), signed(first));
        while let Some(block) = self.waiting.front_mut() {
            let mut at = self.done;
            while let Some(seqno) = block.seqno.get(at).copied().filter(|seqno| *seqno < by) {
                if seqno >= first {
                    if let (Some(signed_by), Some(value)) =
                        (block.signed_by.get_mut(at), block.root.values.get_mut(at))
                    {
                        (*signed_by, *value) = (by, root);
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
