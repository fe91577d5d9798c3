//! One step in the life of one proposal, run again: `validate`, every ballot, `resolve`, `apply`, each in a
//! context of its own, over the public tables as of the transaction before.
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::api::{EffectValue, Host, Role, Setting};
use crate::calls;
use crate::engine::{Budget, Program, ScriptFailure};
use crate::tables::{self, Bytes, Tables, WriteSet};

/// Effects that one `apply` may ask for before it is taken for hostile.
const MAX_EFFECTS: usize = 10_000;

/// Text that stands in the replayed writes where CCF wrote what only the service could make (a certificate).
///
/// The number is the position of the effect among those of this `apply`.
pub fn placeholder(effect: usize) -> String {
    format!("@tallystick-effect-{effect}@")
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Task {
    /// Tables before the transaction.
    pub tables: Tables,
    /// The transaction's own writes that ballots and `resolve` see (the proposal, its ballots so far).
    pub before_resolve: WriteSet,
    /// Writes that `apply` sees on top of those (the accepted proposal, others removed).
    pub before_apply: WriteSet,
    /// The constitution in force, or why it does not compile.
    pub constitution: Result<Arc<Program>, ScriptFailure>,
    /// Id of the proposal.
    pub proposal_id: String,
    /// Its text, as submitted.
    pub proposal: Arc<str>,
    /// Id of its proposer.
    pub proposer_id: String,
    /// Ballots, ascending by member id.
    pub ballots: Vec<(String, String)>,
    /// Whether to run `validate`.
    pub validate: bool,
    /// Whether to run `apply`.
    pub apply: bool,
    /// Answer to `network.getLatestLedgerSecretSeqno`.
    pub ledger_secret_seqno: u64,
    /// CCF 1.x: `delete` answers whether the key was there.
    pub delete_answers: bool,
    /// For each of the calls.
    pub budget: Budget,
}

/// Something that `apply` asked of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Name of the function.
    pub function: &'static str,
    /// Its arguments, as a JSON array.
    pub arguments: String,
}

/// What `apply` did.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// What it wrote.
    pub writes: WriteSet,
    /// What it asked for, in order.
    pub effects: Vec<Effect>,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// `validate`: whether valid, and the description.
    pub validation: Option<Result<(bool, String), ScriptFailure>>,
    /// Votes of the ballots that ran, ascending by member id.
    pub votes: BTreeMap<String, bool>,
    /// Ballots that did not.
    pub vote_failures: BTreeMap<String, ScriptFailure>,
    /// What `resolve` returned, as text.
    pub resolution: Option<Result<String, ScriptFailure>>,
    /// What `apply` did.
    pub application: Option<Result<Application, ScriptFailure>>,
    /// Sources of values used that no replay can repeat.
    pub unrepeatable: BTreeSet<&'static str>,
    /// Names the call that could be neither ended nor interrupted; what follows it was not run.
    pub stuck: Option<String>,
}

/// Votes of ballots that looked at nothing but their arguments: the same script with the same arguments gives
/// the same vote, so it need not run again for every ballot that arrives after it.
#[derive(Debug, Default)]
pub struct KnownVotes(Mutex<HashMap<[u8; 32], bool>>);

impl KnownVotes {
    /// Votes kept; when there are more, all are forgotten.
    const MAX: usize = 1 << 14;

    fn key(task: &Task, ballot: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for text in [ballot, task.proposer_id.as_str(), task.proposal.as_ref()] {
            hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(text);
        }
        hasher.finalize().into()
    }

    fn get(&self, key: &[u8; 32]) -> Option<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn insert(&self, key: [u8; 32], vote: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::MAX {
            known.clear();
        }
        known.insert(key, vote);
    }
}

/// Runs `task`; `starting` is told the name of each call before it starts.
pub fn run(task: &Task, known: &KnownVotes, starting: &mut dyn FnMut(&str)) -> Outcome {
    let mut outcome = Outcome::default();
    let before = Rc::new(RefCell::new(TransactionView::new(task)));
    if task.validate {
        starting("validate");
        outcome.validation = Some(validate(task, &before));
    }
    before.borrow_mut().overlay(&task.before_resolve);
    for (member, ballot) in &task.ballots {
        let key = KnownVotes::key(task, ballot);
        if let Some(vote) = known.get(&key) {
            outcome.votes.insert(member.clone(), vote);
            continue;
        }
        starting(&format!("ballot of member {member}"));
        before.borrow_mut().looked = Cell::new(false);
        let result = vote(task, &before, member, ballot);
        if let (Ok(vote), false) = (&result, before.borrow().looked.get()) {
            known.insert(key, *vote);
        }
        match result {
            Ok(vote) => {
                outcome.votes.insert(member.clone(), vote);
            }
            Err(failure) => {
                outcome.vote_failures.insert(member.clone(), failure);
            }
        }
    }
    starting("resolve");
    outcome.resolution = Some(resolve(task, &before, &outcome.votes));
    if task.apply {
        starting("apply");
        before.borrow_mut().overlay(&task.before_apply);
        outcome.application = Some(apply(task, &before));
    }
    outcome.unrepeatable = std::mem::take(&mut before.borrow_mut().unrepeatable);
    outcome
}

type View = Rc<RefCell<TransactionView>>;

fn setting(task: &Task) -> Setting {
    Setting { role: Role::Propose, budget: task.budget, delete_answers: task.delete_answers }
}

fn validate(task: &Task, view: &View) -> Result<(bool, String), ScriptFailure> {
    let found = calls::validate(&task.constitution, view, setting(task), &task.proposal)?;
    found.ok_or_else(calls::no_object)
}

fn vote(task: &Task, view: &View, member: &str, ballot: &str) -> Result<bool, ScriptFailure> {
    let name = ballot_name(&task.proposal_id, member);
    calls::vote(&name, ballot, view, setting(task), &task.proposal, &task.proposer_id)
}

fn resolve(task: &Task, view: &View, votes: &BTreeMap<String, bool>) -> Result<String, ScriptFailure> {
    let (constitution, id) = (&task.constitution, &task.proposal_id);
    calls::resolve(constitution, view, setting(task), &task.proposal, &task.proposer_id, votes, id)
}

fn apply(task: &Task, view: &View) -> Result<Application, ScriptFailure> {
    calls::apply(&task.constitution, view, setting(task), &task.proposal, &task.proposal_id)?;
    Ok(std::mem::take(&mut view.borrow_mut().application))
}

/// What traces call the ballot of `member` on a proposal.
#[must_use]
pub fn ballot_name(proposal_id: &str, member: &str) -> String {
    format!("public:ccf.gov.proposals_info[{proposal_id}].ballots[{member}]")
}

/// The tables as the transaction sees them: those before it, under what it has written so far.
struct TransactionView {
    tables: Tables,
    written: WriteSet,
    application: Application,
    ledger_secret_seqno: u64,
    unrepeatable: BTreeSet<&'static str>,
    /// Whether a script has used anything of this.
    looked: Cell<bool>,
}

impl TransactionView {
    fn new(task: &Task) -> Self {
        Self {
            tables: task.tables.clone(),
            written: WriteSet::new(),
            application: Application::default(),
            ledger_secret_seqno: task.ledger_secret_seqno,
            unrepeatable: BTreeSet::new(),
            looked: Cell::new(false),
        }
    }

    fn overlay(&mut self, writes: &WriteSet) {
        for (table, keys) in writes {
            let written = self.written.entry(Arc::clone(table)).or_default();
            written.extend(keys.iter().map(|(key, value)| (Arc::clone(key), value.clone())));
        }
    }
}

impl Host for TransactionView {
    fn get(&self, table: &str, key: &[u8]) -> Option<Bytes> {
        self.looked.set(true);
        match self.written.get(table).and_then(|written| written.get(key)) {
            Some(written) => written.clone(),
            None => self.tables.get(table, key).map(|found| Arc::clone(&found.value)),
        }
    }

    fn version(&self, table: &str, key: &[u8]) -> Option<u64> {
        self.looked.set(true);
        self.tables.get(table, key).map(|found| found.seqno)
    }

    fn entries(&self, table: &str) -> Vec<(Bytes, Bytes)> {
        self.looked.set(true);
        let none = BTreeMap::new();
        let written = self.written.get(table).unwrap_or(&none);
        let committed = self.tables.table(table).map(tables::in_map_order).unwrap_or_default();
        let unchanged = committed
            .into_iter()
            .filter(|(key, _)| !written.contains_key(*key))
            .map(|(key, value)| (Arc::clone(key), Arc::clone(&value.value)));
        let changed = written.iter().filter_map(|(key, value)| Some((Arc::clone(key), value.clone()?)));
        unchanged.chain(changed).collect()
    }

    fn write(&mut self, table: &str, key: &[u8], value: Option<&[u8]>) {
        let (table, key): (Arc<str>, Bytes) = (table.into(), key.into());
        let value: Option<Bytes> = value.map(Into::into);
        self.written.entry(Arc::clone(&table)).or_default().insert(Arc::clone(&key), value.clone());
        self.application.writes.entry(table).or_default().insert(key, value);
    }

    fn effect(&mut self, function: &'static str, arguments: String) -> Result<EffectValue, String> {
        if self.application.effects.len() >= MAX_EFFECTS {
            return Err(format!("more than {MAX_EFFECTS} calls that reach the node"));
        }
        self.application.effects.push(Effect { function, arguments });
        Ok(match function {
            "getLatestLedgerSecretSeqno" => EffectValue::Number(self.ledger_secret_seqno),
            "generateEndorsedCertificate" | "generateNetworkCertificate" => {
                EffectValue::Text(placeholder(self.application.effects.len() - 1))
            }
            _ => EffectValue::Undefined,
        })
    }

    fn unrepeatable(&mut self, what: &'static str) {
        self.looked.set(true);
        self.unrepeatable.insert(what);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    const CONSTITUTION: &str = r#"
        const key = ccf.strToBuf("k");
        export function validate(text) { return { valid: text === "{}", description: "d" }; }
        export function resolve(text, proposer, votes, id) {
          if (ccf.kv["public:ccf.gov.t"].get(key) === undefined) throw new Error("no state");
          return votes.filter((v) => v.vote).length > 1 ? "Accepted" : "Open";
        }
        export function apply(text, id) {
          const table = ccf.kv["public:ccf.gov.t"];
          table.set(ccf.strToBuf("n"), ccf.jsonCompatibleToBuf({ size: table.size }));
          table.delete(key);
          ccf.node.triggerLedgerRekey();
          table.set(ccf.strToBuf("cert"), ccf.strToBuf(ccf.network.generateNetworkCertificate("x", 3)));
        }"#;

    fn task(ballots: &[(&str, &str)], apply: bool) -> Task {
        let budget = Budget::default();
        let mut tables = Tables::new();
        let entry = BTreeMap::from([(Bytes::from(*b"k"), Some(Bytes::from(*b"v")))]);
        tables.update(7, &WriteSet::from([("public:ccf.gov.t".into(), entry)]));
        Task {
            tables,
            before_resolve: WriteSet::new(),
            before_apply: WriteSet::new(),
            constitution: Program::compile("c", CONSTITUTION, &budget).map(Arc::new),
            proposal_id: "p".into(),
            proposal: "{}".into(),
            proposer_id: "m".into(),
            ballots: ballots.iter().map(|&(member, text)| (member.into(), text.into())).collect(),
            validate: true,
            apply,
            ledger_secret_seqno: 1,
            delete_answers: false,
            budget,
        }
    }

    #[test]
    fn runs_the_life_of_a_proposal() {
        let yes =
            "export function vote (proposal, proposer) { return proposal === '{}' && proposer === 'm' }";
        let outcome = run(
            &task(&[("a", yes), ("b", yes), ("c", "export function vote() { throw 1 }")], true),
            &KnownVotes::default(),
            &mut |_| (),
        );
        assert_eq!(outcome.validation, Some(Ok((true, "d".into()))));
        assert_eq!(outcome.votes.values().collect::<Vec<_>>(), [&true, &true]);
        assert_eq!(outcome.vote_failures.keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(outcome.resolution, Some(Ok("Accepted".into())));
        let application = outcome.application.unwrap().unwrap();
        assert_eq!(application.effects.len(), 2);
        let writes = &application.writes["public:ccf.gov.t"];
        let text = |key: &str| {
            writes[key.as_bytes()].as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
        };
        assert_eq!(text("n").as_deref(), Some("{\"size\":1}"));
        assert_eq!(text("k"), None);
        assert_eq!(text("cert"), Some(placeholder(1)));
    }

    #[test]
    fn a_ballot_can_only_read() {
        let attempts = [
            ("ccf.kv['public:ccf.gov.t'].set(ccf.strToBuf('k'), ccf.strToBuf('w'))", "read-only"),
            ("ccf.kv['public:ccf.gov.t'].clear()", "read-only"),
            ("ccf.kv['private'].get(ccf.strToBuf('k'))", "inaccessible"),
            ("ccf.kv['public:app'].get(ccf.strToBuf('k'))", "inaccessible"),
            ("ccf.node.triggerLedgerRekey()", "undefined"),
            ("ccf.kv['public:ccf.gov.t'].get(new Uint8Array(1))", "ArrayBuffer"),
            ("ccf.kv['public:ccf.gov.t'].get()", "Passed 0 arguments"),
        ];
        for (attempt, said) in attempts {
            let ballot = format!("export function vote() {{ {attempt}; return true }}");
            let outcome = run(&task(&[("a", &ballot)], false), &KnownVotes::default(), &mut |_| ());
            assert!(
                outcome.vote_failures["a"].message.contains(said),
                "{attempt}: {}",
                outcome.vote_failures["a"]
            );
        }
    }

    #[test]
    fn only_a_vote_that_looked_at_nothing_is_kept() {
        let known = KnownVotes::default();
        let plain = "export const vote = () => true";
        let looking = "export const vote = () => ccf.kv['public:ccf.gov.t'].size === 1";
        let outcome = run(&task(&[("a", plain), ("b", looking)], false), &known, &mut |_| ());
        assert_eq!(outcome.votes.values().collect::<Vec<_>>(), [&true, &true]);
        let mut again = task(&[("a", plain), ("b", looking)], false);
        again.tables = Tables::new();
        let mut started = Vec::new();
        let outcome = run(&again, &known, &mut |what| started.push(what.to_owned()));
        assert_eq!(outcome.votes.values().collect::<Vec<_>>(), [&true, &false]);
        assert_eq!(started, ["validate", "ballot of member b", "resolve"]);
    }

    #[test]
    fn what_cannot_be_repeated_is_told() {
        let outcome = run(
            &task(&[("a", "export const vote = () => Math.random() < 2 && Date.now() > 0")], false),
            &KnownVotes::default(),
            &mut |_| (),
        );
        assert!(outcome.votes["a"]);
        assert_eq!(outcome.unrepeatable.into_iter().collect::<Vec<_>>(), ["Date", "Math.random"]);
    }
}
