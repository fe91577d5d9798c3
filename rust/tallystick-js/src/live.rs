//! Governance scripts of a running node: one call at a time over an open transaction, on a thread of its own.
//!
//! The thread has a stack that fits the script's budget whoever asks, and it can be left behind: the engine polls
//! its deadline in bytecode and in most native loops, but not in all of them, and a node must answer even when a
//! member finds one that it does not. What such a thread might still do to the transaction does not matter: a call
//! that may write and fails costs the whole transaction.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::api::{Host, Role, Setting};
use crate::calls::{self, Constitution};
use crate::engine::{Budget, FailureKind, ScriptFailure};

/// Stack beyond the script's own, which the engine's parser, its regular expressions and the engine inside
/// `validateConstitution` need.
const EXTRA_STACK_BYTES: usize = 24 << 20;

/// How far past its deadline a call may be before its thread is left behind: as long as its budget again, and this,
/// for a machine that is busy.
const GRACE: Duration = Duration::from_secs(2);

/// Threads that may be left behind before no more scripts are run: each holds a core until the process ends.
pub const MAX_LEFT_BEHIND: usize = 16;

static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

/// What to call.
#[derive(Clone, Debug)]
pub enum Call {
    /// `validate` of a constitution.
    Validate {
        /// The constitution.
        constitution: Constitution,
        /// Text of the proposal.
        proposal: String,
    },
    /// `vote` of a ballot.
    Vote {
        /// What traces call it.
        name: String,
        /// The script.
        ballot: String,
        /// Text of the proposal.
        proposal: String,
        /// Who proposed it.
        proposer: String,
    },
    /// `resolve` of a constitution.
    Resolve {
        /// The constitution.
        constitution: Constitution,
        /// Text of the proposal.
        proposal: String,
        /// Who proposed it.
        proposer: String,
        /// Votes by member.
        votes: BTreeMap<String, bool>,
        /// Id of the proposal.
        id: String,
    },
    /// `apply` of a constitution.
    Apply {
        /// The constitution.
        constitution: Constitution,
        /// Text of the proposal.
        proposal: String,
        /// Id of the proposal.
        id: String,
    },
}

/// What a call gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of `validate`; None: no object came back.
    Validation(Option<(bool, String)>),
    /// Of a ballot.
    Vote(bool),
    /// Of `resolve`, as text.
    State(String),
    /// Of `apply`.
    Applied,
}

/// Makes `call` over `host`.
///
/// # Errors
/// A [`ScriptFailure`]: of the script; [`FailureKind::TimedOut`] when its thread had to be left behind;
/// [`FailureKind::Engine`] when there is no thread for it.
pub fn run<H: Host + Send + 'static>(call: Call, host: H, budget: Budget) -> Result<Answer, ScriptFailure> {
    if LEFT_BEHIND.load(Ordering::Relaxed) >= MAX_LEFT_BEHIND {
        let message = format!("{MAX_LEFT_BEHIND} scripts could not be stopped: no more are run");
        return Err(ScriptFailure::new(FailureKind::Engine, message));
    }
    let (send, receive) = sync_channel(1);
    let stack = budget.stack_bytes.saturating_mul(2).saturating_add(EXTRA_STACK_BYTES);
    let worker = move || {
        // Nobody listens any more when the call was given up.
        let _ = send.send(make(call, host, budget));
    };
    let started = thread::Builder::new().name("governance".to_owned()).stack_size(stack).spawn(worker);
    started.map_err(|error| {
        ScriptFailure::new(FailureKind::Engine, format!("no thread for a script: {error}"))
    })?;
    let patience = budget.time.saturating_mul(2).saturating_add(GRACE);
    receive.recv_timeout(patience).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => {
            LEFT_BEHIND.fetch_add(1, Ordering::Relaxed);
            let message = format!("took longer than its budget of {} ms", budget.time.as_millis());
            Err(ScriptFailure::new(FailureKind::TimedOut, message))
        }
        RecvTimeoutError::Disconnected => {
            Err(ScriptFailure::new(FailureKind::Engine, "the engine gave up on the script"))
        }
    })
}

fn make<H: Host + 'static>(call: Call, host: H, budget: Budget) -> Result<Answer, ScriptFailure> {
    let host = Rc::new(RefCell::new(host));
    let setting = Setting { role: Role::Propose, budget, delete_answers: false };
    match call {
        Call::Validate { constitution, proposal } => {
            calls::validate(&constitution, &host, setting, &proposal).map(Answer::Validation)
        }
        Call::Vote { name, ballot, proposal, proposer } => {
            calls::vote(&name, &ballot, &host, setting, &proposal, &proposer).map(Answer::Vote)
        }
        Call::Resolve { constitution, proposal, proposer, votes, id } => {
            calls::resolve(&constitution, &host, setting, &proposal, &proposer, &votes, &id)
                .map(Answer::State)
        }
        Call::Apply { constitution, proposal, id } => {
            calls::apply(&constitution, &host, setting, &proposal, &id).map(|()| Answer::Applied)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::api::EffectValue;
    use crate::tables::Bytes;

    struct Empty;

    impl Host for Empty {
        fn get(&self, _: &str, _: &[u8]) -> Option<Bytes> {
            None
        }
        fn version(&self, _: &str, _: &[u8]) -> Option<u64> {
            None
        }
        fn entries(&self, _: &str) -> Vec<(Bytes, Bytes)> {
            Vec::new()
        }
        fn write(&mut self, _: &str, _: &[u8], _: Option<&[u8]>) {}
        fn effect(&mut self, _: &'static str, _: String) -> Result<EffectValue, String> {
            Ok(EffectValue::Undefined)
        }
        fn unrepeatable(&mut self, _: &'static str) {}
    }

    fn vote(ballot: &str, time: Duration) -> Result<Answer, ScriptFailure> {
        let call = Call::Vote {
            name: "ballot".into(),
            ballot: ballot.into(),
            proposal: "{}".into(),
            proposer: "m".into(),
        };
        run(call, Empty, Budget { time, ..Budget::default() })
    }

    #[test]
    fn answers_and_fails_like_the_script() {
        let time = Duration::from_secs(5);
        assert_eq!(vote("export const vote = (p, m) => m === 'm'", time), Ok(Answer::Vote(true)));
        let thrown = vote("export function vote() { throw new Error('no') }", time).unwrap_err();
        assert_eq!((thrown.kind, thrown.message.as_str()), (FailureKind::Exception, "Error: no"));
        let looped = vote("export function vote() { for (;;); }", Duration::from_millis(50));
        assert_eq!(looped.unwrap_err().kind, FailureKind::TimedOut);
    }

    #[test]
    fn leaves_a_script_behind_that_cannot_be_interrupted() {
        // A native loop over 2^53 elements of a typed array that ignores writes past its end.
        const STUCK: &str = "export function vote() { const a = new Uint8Array(1); Object.defineProperty(a, 'length', {value: 2 ** 53 - 1}); Array.prototype.fill.call(a, 1); return true }";
        let failed = vote(STUCK, Duration::from_millis(50)).unwrap_err();
        assert_eq!(failed.kind, FailureKind::TimedOut);
    }
}
