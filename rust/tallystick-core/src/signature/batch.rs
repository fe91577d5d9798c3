//! Many signature checks on all cores, while the caller goes on reading.
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash as StdHash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, available_parallelism};

use super::{HeadStart, PublicKey};
use crate::types::Digest;

/// Checks that may wait; beyond it `submit` blocks. A few milliseconds of work for each core, a few MiB.
const MAX_WAITING: usize = 8192;
/// Checks that a worker takes at once: enough that the lock costs nothing beside 8 × 0.3 ms of ECDSA.
const TAKEN_AT_ONCE: usize = 8;
/// Verdicts that are remembered. Receipts and ledgers repeat a signature close together, if at all.
const MAX_REMEMBERED: usize = 1 << 16;

/// What a signature is said to cover.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Claim {
    /// ECDSA over these 32 bytes as they are.
    Prehashed(Digest),
    /// A COSE algorithm over a message.
    Cose {
        /// The message, unhashed.
        message: Vec<u8>,
        /// COSE algorithm.
        algorithm: i64,
    },
}

/// One signature to check: key, what is signed, signature. Two checks that are equal in all three have the
/// same verdict, so it is found once.
#[derive(Debug, Clone)]
pub struct Check {
    /// The key that is said to have signed.
    pub key: Arc<PublicKey>,
    /// What is said to be signed.
    pub claim: Claim,
    /// The signature.
    pub signature: Vec<u8>,
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.claim == other.claim && self.signature == other.signature
    }
}

impl Eq for Check {}

impl StdHash for Check {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.sha256().hash(state);
        self.claim.hash(state);
        self.signature.hash(state);
    }
}

impl Check {
    /// Whether the signature holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        match &self.claim {
            Claim::Prehashed(digest) => self.key.verifies_prehashed(digest, &self.signature),
            Claim::Cose { message, algorithm } => {
                self.key.verifies_cose(message, &self.signature, *algorithm)
            }
        }
    }

    /// A check that panicked has not shown that the signature holds.
    fn holds_without_panic(&self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.holds())).unwrap_or(false)
    }
}

enum Verdict {
    /// Under way; these tags wait for it.
    Pending(Vec<u64>),
    Known(bool),
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Check>>,
    /// Checks in the queue or with a worker.
    outstanding: usize,
    verdicts: HashMap<Arc<Check>, Verdict>,
    failed: Vec<u64>,
    submitted: u64,
    closed: bool,
}

impl State {
    /// Takes note of `check` under `tag`; true when it is new and was queued.
    fn enter(&mut self, tag: u64, check: Check) -> bool {
        self.submitted += 1;
        match self.verdicts.get_mut(&check) {
            Some(Verdict::Known(true)) => return false,
            Some(Verdict::Known(false)) => {
                self.failed.push(tag);
                return false;
            }
            Some(Verdict::Pending(tags)) => {
                tags.push(tag);
                return false;
            }
            None => {}
        }
        if self.verdicts.len() >= MAX_REMEMBERED {
            self.verdicts.retain(|_, verdict| matches!(verdict, Verdict::Pending(_)));
        }
        self.queue_new(check, vec![tag]);
        true
    }

    fn queue_new(&mut self, check: Check, tags: Vec<u64>) {
        let check = Arc::new(check);
        self.verdicts.insert(Arc::clone(&check), Verdict::Pending(tags));
        self.queue.push_back(check);
        self.outstanding += 1;
    }

    fn settle(&mut self, check: &Arc<Check>, holds: bool) {
        if let Some(Verdict::Pending(tags)) = self.verdicts.insert(Arc::clone(check), Verdict::Known(holds))
            && !holds
        {
            self.failed.extend(tags);
        }
        self.outstanding -= 1;
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when the queue gets work, or closes.
    work: Condvar,
    /// Signalled when the queue gets room, or nothing is outstanding.
    progress: Condvar,
}

impl Shared {
    /// The state stays consistent at every unlock, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            if state.queue.is_empty() {
                if state.closed {
                    return;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let count = state.queue.len().min(TAKEN_AT_ONCE);
            let taken: Vec<Arc<Check>> = state.queue.drain(..count).collect();
            drop(state);
            let verdicts: Vec<bool> = taken.iter().map(|check| check.holds_without_panic()).collect();
            state = self.lock();
            for (check, holds) in taken.iter().zip(verdicts) {
                state.settle(check, holds);
            }
            self.progress.notify_all();
        }
    }
}

/// Lets checks into a batch that nobody has submitted yet: their verdicts wait there.
pub(super) struct Early(Arc<Shared>);

impl Early {
    /// Queues a check, unless it is there already. False, and nothing done, once checks are submitted or the queue is
    /// full.
    pub fn offer(&self, check: Check) -> bool {
        let mut state = self.0.lock();
        if state.submitted > 0 || state.closed || state.queue.len() >= MAX_WAITING {
            return false;
        }
        if !state.verdicts.contains_key(&check) {
            state.queue_new(check, Vec::new());
            self.0.work.notify_one();
        }
        true
    }
}

/// A bounded queue of signature checks with workers of its own.
pub struct Batch {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    jobs: usize,
}

impl Batch {
    /// `jobs` 0 means one worker a core. Workers start with the first check.
    #[must_use]
    pub fn new(jobs: usize) -> Self {
        let cores = || available_parallelism().map_or(1, usize::from);
        Self { shared: Arc::default(), workers: Vec::new(), jobs: if jobs == 0 { cores() } else { jobs } }
    }

    /// Queues checks; blocks while the queue is full.
    pub fn submit(&mut self, checks: impl IntoIterator<Item = (u64, Check)>) {
        self.start();
        let mut state = self.shared.lock();
        for (tag, check) in checks {
            while state.queue.len() >= MAX_WAITING {
                state = self.shared.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.enter(tag, check) {
                self.shared.work.notify_one();
            }
            if self.workers.is_empty() {
                // No thread could be started: the work is done here.
                while let Some(check) = state.queue.pop_front() {
                    let holds = check.holds_without_panic();
                    state.settle(&check, holds);
                }
            }
        }
    }

    /// Lets node signatures be verified before anything is submitted; see [`HeadStart`].
    pub fn head_start(&mut self) -> HeadStart {
        self.start();
        HeadStart::new(Early(Arc::clone(&self.shared)))
    }

    fn start(&mut self) {
        while self.workers.len() < self.jobs {
            let shared = Arc::clone(&self.shared);
            let name = format!("signatures-{}", self.workers.len());
            match Builder::new().name(name).spawn(move || shared.run()) {
                Ok(worker) => self.workers.push(worker),
                Err(_) => {
                    self.jobs = self.workers.len();
                    return;
                }
            }
        }
    }

    /// Waits for every check and returns the tags of those that do not hold, ascending, each once.
    ///
    /// The batch can be used again afterwards.
    pub fn finish(&mut self) -> Vec<u64> {
        let mut state = self.shared.lock();
        while state.outstanding > 0 {
            state = self.shared.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut failed = std::mem::take(&mut state.failed);
        failed.sort_unstable();
        failed.dedup();
        failed
    }

    /// Checks that have a verdict.
    #[must_use]
    pub fn checked(&self) -> u64 {
        let state = self.shared.lock();
        let waiting: usize = state
            .verdicts
            .values()
            .map(|verdict| if let Verdict::Pending(tags) = verdict { tags.len() } else { 0 })
            .sum();
        state.submitted - waiting as u64
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        // Nobody will ask for these verdicts any more.
        state.queue.clear();
        state.closed = true;
        drop(state);
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

    fn checks(count: u64, message_of: impl Fn(u64) -> u64) -> Vec<(u64, Check)> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = Arc::new(PublicKey::from_spki(pair.public_key().as_der().unwrap().as_ref()).unwrap());
        (0..count)
            .map(|tag| {
                let signature =
                    pair.sign(&SystemRandom::new(), &tag.to_le_bytes()).unwrap().as_ref().to_vec();
                let message = message_of(tag).to_le_bytes().to_vec();
                (
                    tag,
                    Check { key: Arc::clone(&key), claim: Claim::Cose { message, algorithm: -7 }, signature },
                )
            })
            .collect()
    }

    #[test]
    fn exactly_the_wrong_ones_are_named_whatever_the_number_of_workers() {
        let checks = checks(300, |tag| if tag % 7 == 3 { tag + 1 } else { tag });
        let wrong: Vec<u64> = (0..300).filter(|tag| tag % 7 == 3).collect();
        for jobs in [0, 1, 2, 5] {
            let mut batch = Batch::new(jobs);
            batch.submit(checks.clone().into_iter().rev());
            assert_eq!(batch.finish(), wrong);
            assert_eq!(batch.checked(), 300);
            assert_eq!(batch.finish(), [0; 0]);
        }
    }

    #[test]
    fn equal_checks_share_a_verdict_and_every_tag_hears_of_it() {
        let once = checks(4, |tag| tag / 2 * 2);
        let mut batch = Batch::new(2);
        for round in 0..50 {
            batch.submit(once.iter().map(|(tag, check)| (round * 10 + tag, check.clone())));
        }
        let wrong: Vec<u64> = (0..50).flat_map(|round| [round * 10 + 1, round * 10 + 3]).collect();
        assert_eq!(batch.finish(), wrong);
        assert_eq!(batch.shared.lock().verdicts.len(), 4);
        batch.submit(once.iter().cloned());
        assert_eq!(batch.finish(), [1, 3]);
        assert_eq!(batch.checked(), 204);
    }

    #[test]
    fn a_verdict_is_not_shared_when_anything_differs() {
        let (_, good) = checks(1, |tag| tag).remove(0);
        let mut batch = Batch::new(1);
        batch.submit([(0, good.clone())]);
        assert_eq!(batch.finish(), [0; 0]);
        let (_, other_key) = checks(1, |tag| tag).remove(0);
        let claim = Claim::Cose { message: vec![1], algorithm: -7 };
        let mut signature = good.signature.clone();
        signature[0] ^= 1;
        batch.submit([
            (1, Check { key: other_key.key, ..good.clone() }),
            (2, Check { claim, ..good.clone() }),
            (3, Check { signature, ..good.clone() }),
            (4, Check { claim: Claim::Prehashed([0; 32]), ..good.clone() }),
            (5, good),
        ]);
        assert_eq!(batch.finish(), [1, 2, 3, 4]);
    }

    #[test]
    fn what_was_checked_early_is_not_checked_again_and_says_nothing_by_itself() {
        let checks = checks(40, |tag| if tag % 5 == 0 { tag + 1 } else { tag });
        let mut batch = Batch::new(2);
        drop(batch.head_start());
        let early = Early(Arc::clone(&batch.shared));
        for (_, check) in checks.iter().take(20) {
            assert!(early.offer(check.clone()));
            assert!(early.offer(check.clone()));
        }
        // Nobody has asked, so that nothing failed.
        assert_eq!(batch.finish(), [0; 0]);
        assert_eq!(batch.checked(), 0);
        batch.submit(checks.clone());
        assert!(!early.offer(checks[39].1.clone()));
        assert_eq!(batch.finish(), [0, 5, 10, 15, 20, 25, 30, 35]);
        assert_eq!(batch.checked(), 40);
        drop(batch);
        assert!(!early.offer(checks[0].1.clone()));
    }

    #[test]
    fn without_threads_the_work_is_done_at_once_and_dropping_early_ends_the_workers() {
        let checks = checks(20, |tag| tag & !1);
        let mut batch = Batch::new(1);
        batch.jobs = 0;
        batch.submit(checks.clone());
        assert_eq!(batch.checked(), 20);
        assert_eq!(batch.finish().len(), 10);
        let mut dropped = Batch::new(2);
        dropped.submit(checks);
        drop(dropped);
    }
}
