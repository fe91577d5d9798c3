//! Binding of `tallystick_js::live`: the scripts of governance over an open transaction of a node.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use tallystick_js::api::{EffectValue, Host};
use tallystick_js::calls::Constitution;
use tallystick_js::engine::{Budget, Program};
use tallystick_js::live::{self, Answer, Call};
use tallystick_js::tables::{self, Bytes, Table, Versioned};

use crate::js::failure;
use crate::node::NodeTransaction;

/// What the constitution in force is called in traces.
const CONSTITUTION_NAME: &str = "public:ccf.gov.constitution[0]";

/// Constitutions kept compiled: the one in force, and a few before it whose transactions are run again.
const MAX_COMPILED: usize = 4;

/// An open transaction as scripts see it; privileged functions and the console go to Python.
struct TransactionHost {
    transaction: Py<NodeTransaction>,
    effect: Option<Py<PyAny>>,
    console: Option<Py<PyAny>>,
}

impl Host for TransactionHost {
    fn get(&self, table: &str, key: &[u8]) -> Option<Bytes> {
        self.transaction.get().locked().get(table, key).map(|value| value.as_ref().into())
    }

    fn version(&self, table: &str, key: &[u8]) -> Option<u64> {
        let mut transaction = self.transaction.get().locked();
        let own = transaction.writes().get(table).is_some_and(|changes| changes.contains_key(key));
        if own {
            // What this transaction wrote itself has no version yet; what it replaced has.
            return transaction.base().map(table).and_then(|map| map.get(key)).map(|found| found.version);
        }
        transaction.version_of_previous_write(table, key)
    }

    fn entries(&self, table: &str) -> Vec<(Bytes, Bytes)> {
        let mut transaction = self.transaction.get().locked();
        let visible = transaction.entries(table);
        let mut committed = Table::new_sync();
        let mut changed = Vec::new();
        let writes = transaction.writes().get(table);
        for (key, value) in &visible {
            let (key_bytes, value): (Bytes, Bytes) = (key.as_ref().into(), value.as_ref().into());
            if writes.is_some_and(|writes| writes.contains_key(key)) {
                changed.push((key_bytes, value));
            } else {
                committed.insert_mut(key_bytes, Versioned { seqno: 0, value });
            }
        }
        // CCF walks its committed map first, in the order of its trie, and the transaction's own writes after it.
        let unchanged = tables::in_map_order(&committed)
            .into_iter()
            .map(|(key, found)| (Arc::clone(key), Arc::clone(&found.value)));
        unchanged.chain(changed).collect()
    }

    fn write(&mut self, table: &str, key: &[u8], value: Option<&[u8]>) {
        let mut transaction = self.transaction.get().locked();
        let key = bytes::Bytes::copy_from_slice(key);
        match value {
            Some(value) => transaction.set(table, key, bytes::Bytes::copy_from_slice(value)),
            None => transaction.remove(table, key),
        }
    }

    fn effect(&mut self, function: &'static str, arguments: String) -> Result<EffectValue, String> {
        Python::attach(|py| {
            let Some(effect) = &self.effect else { return Err("is not available here".to_owned()) };
            let answer = effect.call1(py, (function, arguments)).map_err(|error| described(py, &error))?;
            let answer = answer.bind(py);
            if answer.is_none() {
                return Ok(EffectValue::Undefined);
            }
            if let Ok(number) = answer.extract::<u64>() {
                return Ok(EffectValue::Number(number));
            }
            answer.extract::<String>().map(EffectValue::Text).map_err(|error| described(py, &error))
        })
    }

    fn unrepeatable(&mut self, _: &'static str) {
        // It is for those who replay the ledger to say that they cannot.
    }

    fn console(&mut self, method: &'static str, line: String) {
        if let Some(console) = &self.console {
            Python::attach(|py| {
                if let Err(error) = console.call1(py, (method, line)) {
                    error.write_unraisable(py, None);
                }
            });
        }
    }
}

/// The message of a Python exception, as a script gets it.
fn described(py: Python<'_>, error: &PyErr) -> String {
    error.value(py).str().map_or_else(|_| "failed".to_owned(), |text| text.to_string_lossy().into_owned())
}

type Compiled = (String, Constitution);

/// Runs the constitution and ballots over open transactions. Safe to use from several threads.
#[pyclass(frozen, module = "tallystick._native")]
struct NodeGovernance {
    compiled: Mutex<Vec<Compiled>>,
}

impl NodeGovernance {
    fn compiled(&self) -> MutexGuard<'_, Vec<Compiled>> {
        // Every change is one push or remove, so that a panic leaves nothing half-done.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn program(&self, source: &str, budget: &Budget) -> Constitution {
        if let Some((_, program)) = self.compiled().iter().find(|(known, _)| known == source) {
            return program.clone();
        }
        let program = Program::compile(CONSTITUTION_NAME, source, budget).map(Arc::new);
        let mut compiled = self.compiled();
        if compiled.len() >= MAX_COMPILED {
            drop(compiled.remove(0));
        }
        compiled.push((source.to_owned(), program.clone()));
        program
    }
}

/// Heap bytes, stack bytes, milliseconds.
type Limits = (usize, usize, u64);

fn budget((heap_bytes, stack_bytes, milliseconds): Limits) -> Budget {
    Budget { heap_bytes, stack_bytes, time: Duration::from_millis(milliseconds) }
}

fn answered<'py>(
    py: Python<'py>,
    result: Result<Answer, tallystick_js::ScriptFailure>,
) -> PyResult<Bound<'py, PyAny>> {
    match result {
        Err(error) => failure(py, &error),
        Ok(Answer::Validation(found)) => found.into_bound_py_any(py),
        Ok(Answer::Vote(vote)) => vote.into_bound_py_any(py),
        Ok(Answer::State(state)) => state.into_bound_py_any(py),
        Ok(Answer::Applied) => Ok(py.None().into_bound(py)),
    }
}

#[pymethods]
impl NodeGovernance {
    #[new]
    fn new() -> Self {
        Self { compiled: Mutex::default() }
    }

    #[pyo3(signature = (transaction, constitution, proposal, *, limits, console = None))]
    fn validate<'py>(
        &self,
        py: Python<'py>,
        transaction: Py<NodeTransaction>,
        constitution: &str,
        proposal: String,
        limits: Limits,
        console: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let budget = budget(limits);
        let host = TransactionHost { transaction, effect: None, console };
        let result = py.detach(|| {
            let constitution = self.program(constitution, &budget);
            live::run(Call::Validate { constitution, proposal }, host, budget)
        });
        answered(py, result)
    }

    #[pyo3(signature = (transaction, ballot, proposal, proposer, *, name, limits, console = None))]
    #[allow(clippy::too_many_arguments, reason = "arguments of the Python side")]
    fn vote<'py>(
        &self,
        py: Python<'py>,
        transaction: Py<NodeTransaction>,
        ballot: String,
        proposal: String,
        proposer: String,
        name: String,
        limits: Limits,
        console: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let host = TransactionHost { transaction, effect: None, console };
        let result =
            py.detach(|| live::run(Call::Vote { name, ballot, proposal, proposer }, host, budget(limits)));
        answered(py, result)
    }

    #[pyo3(signature = (transaction, constitution, proposal, proposer, votes, proposal_id, *, limits, console = None))]
    #[allow(clippy::too_many_arguments, reason = "arguments of the Python side")]
    fn resolve<'py>(
        &self,
        py: Python<'py>,
        transaction: Py<NodeTransaction>,
        constitution: &str,
        proposal: String,
        proposer: String,
        votes: BTreeMap<String, bool>,
        proposal_id: String,
        limits: Limits,
        console: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let budget = budget(limits);
        let host = TransactionHost { transaction, effect: None, console };
        let result = py.detach(|| {
            let constitution = self.program(constitution, &budget);
            let call = Call::Resolve { constitution, proposal, proposer, votes, id: proposal_id };
            live::run(call, host, budget)
        });
        answered(py, result)
    }

    #[pyo3(signature = (transaction, constitution, proposal, proposal_id, *, effect, limits, console = None))]
    #[allow(clippy::too_many_arguments, reason = "arguments of the Python side")]
    fn apply<'py>(
        &self,
        py: Python<'py>,
        transaction: Py<NodeTransaction>,
        constitution: &str,
        proposal: String,
        proposal_id: String,
        effect: Py<PyAny>,
        limits: Limits,
        console: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let budget = budget(limits);
        let host = TransactionHost { transaction, effect: Some(effect), console };
        let result = py.detach(|| {
            let constitution = self.program(constitution, &budget);
            live::run(Call::Apply { constitution, proposal, id: proposal_id }, host, budget)
        });
        answered(py, result)
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NodeGovernance>()
}
