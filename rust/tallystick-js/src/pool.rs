//! Replay on several threads: a bounded queue of tasks, outcomes in the order of submission.
//!
//! The engine polls its deadline in bytecode and in most native loops, but not in all of them. A thread that
//! is still busy well past its deadline is given up: its task ends as *stuck*, another thread takes its place,
//! and it is left alone until the process ends. Only a few may be lost that way before the pool refuses to go
//! on, because each holds a core.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::governance::{self, KnownVotes, Outcome, Task};

/// Native stack of a worker: the script's own budget plus what the engine's parser and regular expressions
/// need beyond it, twice, because `validateConstitution` runs an engine inside an engine.
const WORKER_STACK_BYTES: usize = 32 << 20;

/// Threads that may be lost to scripts that cannot be interrupted.
pub const MAX_STUCK: usize = 4;

/// How far past its deadline a call may be before its thread is given up: as long as its budget again, and
/// this, for a machine that is busy.
const GRACE: Duration = Duration::from_secs(2);

/// Why the pool takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Too many scripts could not be stopped.
    #[error("{MAX_STUCK} scripts could not be interrupted; replay stops here")]
    TooManyStuck,
    /// The system has no thread to give.
    #[error("no thread could be started")]
    NoThread,
}

struct Slot {
    tag: u64,
    what: String,
    give_up: Instant,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(u64, Task)>,
    /// By worker.
    running: BTreeMap<u64, Slot>,
    done: BTreeMap<u64, Outcome>,
    next_worker: u64,
    workers: usize,
    stuck: usize,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    known: KnownVotes,
    work: Condvar,
    progress: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a worker leaves no half-made change behind: every change is one assignment or insert.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pool of workers.
pub struct Pool {
    shared: Arc<Shared>,
    jobs: usize,
    capacity: usize,
    next_tag: u64,
    next_out: u64,
}

impl Pool {
    /// `jobs` 0 means one worker a core; at most `capacity` tasks wait at a time.
    pub fn new(jobs: usize, capacity: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let jobs = if jobs == 0 { cores } else { jobs };
        Self { shared: Arc::default(), jobs, capacity: capacity.max(1), next_tag: 0, next_out: 0 }
    }

    /// Queues `task`, or gives it back when the queue is full.
    ///
    /// # Errors
    /// [`PoolError`] when nothing can run any more.
    pub fn try_submit(&mut self, task: Task) -> Result<Option<Task>, PoolError> {
        let mut state = self.shared.lock();
        give_up_stuck(&mut state);
        if state.stuck >= MAX_STUCK {
            return Err(PoolError::TooManyStuck);
        }
        if state.queue.len() >= self.capacity {
            staff(&self.shared, self.jobs, &mut state)?;
            return Ok(Some(task));
        }
        state.queue.push_back((self.next_tag, task));
        self.next_tag += 1;
        staff(&self.shared, self.jobs, &mut state)?;
        drop(state);
        self.shared.work.notify_one();
        Ok(None)
    }

    /// Waits up to `limit` for something to be done.
    pub fn wait(&self, limit: Duration) {
        let state = self.shared.lock();
        let waited = self.shared.progress.wait_timeout(state, limit);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        give_up_stuck(&mut state);
    }

    /// Takes the outcomes that are ready and in turn.
    pub fn take(&mut self) -> Vec<Outcome> {
        let mut state = self.shared.lock();
        give_up_stuck(&mut state);
        let mut ready = Vec::new();
        while let Some(outcome) = state.done.remove(&self.next_out) {
            ready.push(outcome);
            self.next_out += 1;
        }
        ready
    }

    /// Tasks submitted whose outcome was not taken yet.
    pub fn pending(&self) -> u64 {
        self.next_tag - self.next_out
    }

    /// Makes sure that what waits will run: replaces workers that were given up.
    ///
    /// # Errors
    /// [`PoolError`] when nothing can run any more although tasks wait.
    pub fn check(&self) -> Result<(), PoolError> {
        let mut state = self.shared.lock();
        give_up_stuck(&mut state);
        if state.stuck < MAX_STUCK {
            return staff(&self.shared, self.jobs, &mut state);
        }
        if state.running.is_empty() { Err(PoolError::TooManyStuck) } else { Ok(()) }
    }
}

/// Starts workers up to the number wanted, when there is work for them.
fn staff(shared: &Arc<Shared>, jobs: usize, state: &mut State) -> Result<(), PoolError> {
    while state.workers < jobs && !state.queue.is_empty() {
        start_worker(shared, state)?;
    }
    Ok(())
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.queue.clear();
        drop(state);
        self.shared.work.notify_all();
    }
}

/// Ends the tasks of workers that are too far past their deadline. A worker whose slot is gone finds out when
/// it comes back, and ends.
fn give_up_stuck(state: &mut State) {
    let now = Instant::now();
    let lost: Vec<u64> =
        state.running.iter().filter(|(_, slot)| slot.give_up <= now).map(|(&worker, _)| worker).collect();
    for worker in lost {
        if let Some(slot) = state.running.remove(&worker) {
            state.done.insert(slot.tag, Outcome { stuck: Some(slot.what), ..Outcome::default() });
            state.stuck += 1;
            state.workers -= 1;
        }
    }
}

fn start_worker(shared: &Arc<Shared>, state: &mut State) -> Result<(), PoolError> {
    let worker = state.next_worker;
    let own = Arc::clone(shared);
    thread::Builder::new()
        .name(format!("governance-{worker}"))
        .stack_size(WORKER_STACK_BYTES)
        .spawn(move || work(&own, worker))
        .map_err(|_| PoolError::NoThread)?;
    state.next_worker += 1;
    state.workers += 1;
    Ok(())
}

fn work(shared: &Shared, worker: u64) {
    let mut state = shared.lock();
    loop {
        if state.closed {
            return;
        }
        let Some((tag, task)) = state.queue.pop_front() else {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let allowance = task.budget.time.saturating_mul(2) + GRACE;
        let slot = |what: &str| Slot { tag, what: what.to_owned(), give_up: Instant::now() + allowance };
        state.running.insert(worker, slot("start"));
        drop(state);
        let outcome = governance::run(&task, &shared.known, &mut |what| {
            if let Some(current) = shared.lock().running.get_mut(&worker) {
                *current = slot(what);
            }
        });
        drop(task);
        state = shared.lock();
        if state.running.remove(&worker).is_none() {
            return;
        }
        state.done.insert(tag, outcome);
        shared.progress.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::engine::{Budget, Program};
    use crate::tables::{Tables, WriteSet};

    fn task(ballot: &str) -> Task {
        let budget = Budget { time: Duration::from_millis(100), ..Budget::default() };
        let constitution = "export function validate(a) {} export function resolve(a, b, c) { return 'Open' } export function apply(a, b) {}";
        Task {
            tables: Tables::new(),
            before_resolve: WriteSet::new(),
            before_apply: WriteSet::new(),
            constitution: Program::compile("c", constitution, &budget).map(Arc::new),
            proposal_id: "p".into(),
            proposal: "{}".into(),
            proposer_id: "m".into(),
            ballots: vec![("a".into(), ballot.into())],
            validate: false,
            apply: false,
            ledger_secret_seqno: 1,
            delete_answers: false,
            budget,
        }
    }

    // A native loop over 2^53 elements of a typed array that ignores writes past its end.
    const STUCK: &str = "export function vote() { const a = new Uint8Array(1); Object.defineProperty(a, 'length', {value: 2 ** 53 - 1}); Array.prototype.fill.call(a, 1); return true }";

    #[test]
    fn gives_up_after_a_few_stuck_threads() {
        let mut pool = Pool::new(2, 8);
        for _ in 0..6 {
            assert!(pool.try_submit(task(STUCK)).unwrap().is_none());
        }
        let (start, mut stuck) = (Instant::now(), 0);
        let ended = loop {
            stuck += pool.take().iter().filter(|outcome| outcome.stuck.is_some()).count();
            if let Err(error) = pool.check() {
                break error;
            }
            assert!(start.elapsed() < Duration::from_secs(60));
            pool.wait(Duration::from_millis(50));
        };
        assert_eq!(ended, PoolError::TooManyStuck);
        // What the other worker had begun when the last one was given up is waited for, and is stuck too.
        assert!((MAX_STUCK..=MAX_STUCK + 1).contains(&stuck), "{stuck}");
        assert!(pool.try_submit(task(STUCK)).is_err());
    }

    #[test]
    fn keeps_the_order_and_survives_a_script_that_cannot_be_interrupted() {
        let mut pool = Pool::new(2, 8);
        let ballots = ["export const vote = () => true", STUCK, "export const vote = () => false"];
        for ballot in ballots {
            assert!(pool.try_submit(task(ballot)).unwrap().is_none());
        }
        let mut outcomes = Vec::new();
        let start = Instant::now();
        while pool.pending() > 0 && start.elapsed() < Duration::from_secs(30) {
            pool.check().unwrap();
            pool.wait(Duration::from_millis(50));
            outcomes.extend(pool.take());
        }
        let votes: Vec<Option<bool>> =
            outcomes.iter().map(|outcome| outcome.votes.get("a").copied()).collect();
        assert_eq!(votes, [Some(true), None, Some(false)]);
        let stopped = &outcomes[1];
        assert!(stopped.stuck.as_deref() == Some("ballot of member a") || !stopped.vote_failures.is_empty());
    }
}
