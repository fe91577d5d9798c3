//! What may be said of a transaction ID.
use tallystick_core::types::TxId;

/// The status of a transaction ID, as `GET /tx` answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStatus {
    /// Nothing can be said.
    Unknown,
    /// Executed here, not committed yet.
    Pending,
    /// Committed: it will never change.
    Committed,
    /// It can never be committed.
    Invalid,
}

impl TxStatus {
    /// The word that clients see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Pending => "Pending",
            Self::Committed => "Committed",
            Self::Invalid => "Invalid",
        }
    }
}

/// First seqno of each view; the entry of view v is at index v-1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewHistory {
    starts: Vec<u64>,
}

impl ViewHistory {
    /// Views before the first one in use, and skipped ones, take the start of the next view that exists.
    pub fn begin(&mut self, view: u64, seqno: u64) {
        let views = usize::try_from(view).unwrap_or(usize::MAX);
        while self.starts.len() < views {
            self.starts.push(seqno);
        }
    }

    /// The view in which `seqno` was, or will be, executed; `None` before the first.
    #[must_use]
    pub fn view_at(&self, seqno: u64) -> Option<u64> {
        let views = self.starts.partition_point(|start| *start <= seqno);
        (views > 0).then_some(views as u64)
    }

    /// First seqno of each view.
    #[must_use]
    pub fn starts(&self) -> &[u64] {
        &self.starts
    }

    /// Forgets views that began after `seqno`.
    pub fn roll_back(&mut self, seqno: u64) {
        self.starts.retain(|start| *start <= seqno);
    }

    /// Status of `target`, given the last transaction here and the last committed one.
    #[must_use]
    pub fn status(&self, target: TxId, last: u64, committed: TxId) -> TxStatus {
        let local = if target.seqno <= last { self.view_at(target.seqno).unwrap_or_default() } else { 0 };
        if committed.seqno >= target.seqno {
            return if local == target.view { TxStatus::Committed } else { TxStatus::Invalid };
        }
        if local == target.view {
            TxStatus::Pending
        } else if committed.view > target.view {
            TxStatus::Invalid
        } else {
            TxStatus::Unknown
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]
mod tests {
    use super::*;

    #[test]
    fn statuses_follow_the_rule() {
        let mut history = ViewHistory::default();
        history.begin(2, 1);
        history.begin(4, 11);
        assert_eq!(history.starts(), [1, 1, 11, 11]);
        let committed = TxId { view: 4, seqno: 12 };
        for (view, seqno, expected) in [
            (2, 10, TxStatus::Committed),
            (3, 11, TxStatus::Invalid),
            (4, 12, TxStatus::Committed),
            (4, 14, TxStatus::Pending),
            (2, 14, TxStatus::Invalid),
            (4, 16, TxStatus::Unknown),
            (3, 16, TxStatus::Invalid),
            (5, 16, TxStatus::Unknown),
        ] {
            assert_eq!(history.status(TxId { view, seqno }, 15, committed), expected, "{view}.{seqno}");
        }
    }
}
