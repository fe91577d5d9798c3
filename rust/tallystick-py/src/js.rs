//! Binding of `tallystick_js`: tables, tasks and outcomes of governance replay.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use tallystick_js::engine::{Budget, Program};
use tallystick_js::governance::{Outcome, Task};
use tallystick_js::pool::{Pool, PoolError};
use tallystick_js::tables::{Bytes, Tables, WriteSet};

import_exception!(tallystick.errors, LimitExceededError);

/// How long a wait lasts before Ctrl-C is looked for.
const WAIT_SLICE: Duration = Duration::from_millis(200);

/// Constitutions kept compiled: those in force change rarely, and replay looks back by a few at most.
const MAX_COMPILED: usize = 8;

const PLACEHOLDER_PATTERN: &str = "@tallystick-effect-([0-9]+)@";

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that holds these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads `{table: {key: value or None}}`.
fn write_set(writes: &Bound<'_, PyDict>) -> PyResult<WriteSet> {
    let mut set = WriteSet::new();
    for (table, keys) in writes {
        let name: &str = &table.extract::<String>()?;
        let mut entries = BTreeMap::new();
        for (key, value) in keys.cast::<PyDict>()? {
            let key: Bytes = key.cast::<PyBytes>()?.as_bytes().into();
            let value: Option<Bytes> = match value.is_none() {
                true => None,
                false => Some(value.cast::<PyBytes>()?.as_bytes().into()),
            };
            entries.insert(key, value);
        }
        set.insert(name.into(), entries);
    }
    Ok(set)
}

fn write_set_to_python<'py>(py: Python<'py>, writes: &WriteSet) -> PyResult<Bound<'py, PyDict>> {
    let tables = PyDict::new(py);
    for (table, keys) in writes {
        let entries = PyDict::new(py);
        for (key, value) in keys {
            let value = value.as_ref().map(|value| PyBytes::new(py, value));
            entries.set_item(PyBytes::new(py, key), value)?;
        }
        tables.set_item(table.as_ref(), entries)?;
    }
    Ok(tables)
}

#[pyclass(frozen, module = "tallystick._native")]
struct ScriptFailure(tallystick_js::ScriptFailure);

#[pymethods]
impl ScriptFailure {
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind.as_str()
    }
    #[getter]
    fn message(&self) -> &str {
        &self.0.message
    }
    #[getter]
    fn trace(&self) -> Option<&str> {
        self.0.trace.as_deref()
    }
    fn __repr__(&self) -> String {
        format!("<ScriptFailure {}: {}>", self.0.kind.as_str(), self.0.message)
    }
}

pub(crate) fn failure<'py>(
    py: Python<'py>,
    failure: &tallystick_js::ScriptFailure,
) -> PyResult<Bound<'py, PyAny>> {
    ScriptFailure(failure.clone()).into_bound_py_any(py)
}

#[pyclass(frozen, module = "tallystick._native")]
struct GovernanceTables(Mutex<Tables>);

#[pymethods]
impl GovernanceTables {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }
    fn update(&self, seqno: u64, writes: &Bound<'_, PyDict>) -> PyResult<()> {
        let writes = write_set(writes)?;
        locked(&self.0).update(seqno, &writes);
        Ok(())
    }
    fn copy(&self) -> Self {
        Self(Mutex::new(locked(&self.0).clone()))
    }
    fn get<'py>(&self, py: Python<'py>, table: &str, key: &[u8]) -> Option<Bound<'py, PyBytes>> {
        locked(&self.0).get(table, key).map(|found| PyBytes::new(py, &found.value))
    }
    fn version(&self, table: &str, key: &[u8]) -> Option<u64> {
        locked(&self.0).get(table, key).map(|found| found.seqno)
    }
    fn items<'py>(&self, py: Python<'py>, table: &str) -> PyResult<Bound<'py, PyList>> {
        let found = locked(&self.0).table(table).cloned().unwrap_or_default();
        let items = PyList::empty(py);
        for (key, entry) in &found {
            items.append((PyBytes::new(py, key), PyBytes::new(py, &entry.value)))?;
        }
        Ok(items)
    }
    fn size(&self, table: &str) -> usize {
        locked(&self.0).table(table).map_or(0, |found| found.size())
    }
    fn names(&self) -> Vec<String> {
        locked(&self.0).names().map(str::to_owned).collect()
    }
}

#[pyclass(frozen, module = "tallystick._native")]
struct GovernanceOutcome(Outcome);

#[pymethods]
impl GovernanceOutcome {
    #[getter]
    fn validation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.0.validation {
            None => Ok(py.None().into_bound(py)),
            Some(Err(error)) => failure(py, error),
            Some(Ok((valid, description))) => (*valid, description).into_bound_py_any(py),
        }
    }
    #[getter]
    fn votes(&self) -> BTreeMap<String, bool> {
        self.0.votes.clone()
    }
    #[getter]
    fn vote_failures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let failures = PyDict::new(py);
        for (member, error) in &self.0.vote_failures {
            failures.set_item(member, failure(py, error)?)?;
        }
        Ok(failures)
    }
    #[getter]
    fn resolution<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.0.resolution {
            None => Ok(py.None().into_bound(py)),
            Some(Err(error)) => failure(py, error),
            Some(Ok(state)) => Ok(PyString::new(py, state).into_any()),
        }
    }
    #[getter]
    fn writes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.0.application {
            None => Ok(py.None().into_bound(py)),
            Some(Err(error)) => failure(py, error),
            Some(Ok(application)) => Ok(write_set_to_python(py, &application.writes)?.into_any()),
        }
    }
    #[getter]
    fn effects<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let effects = PyList::empty(py);
        if let Some(Ok(application)) = &self.0.application {
            for effect in &application.effects {
                effects.append(PyTuple::new(py, [effect.function, effect.arguments.as_str()])?)?;
            }
        }
        Ok(effects)
    }
    #[getter]
    fn unrepeatable(&self) -> Vec<&'static str> {
        self.0.unrepeatable.iter().copied().collect()
    }
    #[getter]
    fn stuck(&self) -> Option<&str> {
        self.0.stuck.as_deref()
    }
}

type Compiled = (String, Result<Arc<Program>, tallystick_js::ScriptFailure>);

#[pyclass(frozen, module = "tallystick._native")]
struct GovernanceReplayer {
    pool: Mutex<Pool>,
    /// Outcomes taken by a `finish` that then failed.
    kept: Mutex<Vec<Outcome>>,
    compiled: Mutex<Vec<Compiled>>,
    budget: Budget,
}

impl GovernanceReplayer {
    fn program(&self, source: &str) -> Result<Arc<Program>, tallystick_js::ScriptFailure> {
        let mut compiled = locked(&self.compiled);
        if let Some((_, program)) = compiled.iter().find(|(known, _)| known == source) {
            return program.clone();
        }
        let program = Program::compile("public:ccf.gov.constitution[0]", source, &self.budget).map(Arc::new);
        if compiled.len() >= MAX_COMPILED {
            drop(compiled.remove(0));
        }
        compiled.push((source.to_owned(), program.clone()));
        program
    }

    fn outcome_list<'py>(py: Python<'py>, outcomes: Vec<Outcome>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, outcomes.into_iter().map(GovernanceOutcome))
    }
}

fn limit(py: Python<'_>, error: PoolError) -> PyErr {
    let build = || -> PyResult<PyErr> {
        let kwargs = PyDict::new(py);
        kwargs.set_item("code", "gov-replay-stopped")?;
        let class = py.get_type::<LimitExceededError>();
        Ok(PyErr::from_value(class.call((error.to_string(),), Some(&kwargs))?))
    };
    build().unwrap_or_else(|failure| failure)
}

#[pymethods]
impl GovernanceReplayer {
    #[new]
    #[pyo3(signature = (*, jobs = 0, max_pending = 64, max_heap_bytes = 100 << 20, max_stack_bytes = 1 << 20, max_time_ms = 5000))]
    fn new(
        jobs: usize,
        max_pending: usize,
        max_heap_bytes: usize,
        max_stack_bytes: usize,
        max_time_ms: u64,
    ) -> Self {
        let budget = Budget {
            heap_bytes: max_heap_bytes,
            stack_bytes: max_stack_bytes,
            time: Duration::from_millis(max_time_ms),
        };
        Self {
            pool: Mutex::new(Pool::new(jobs, max_pending)),
            kept: Mutex::default(),
            compiled: Mutex::default(),
            budget,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "keyword arguments of the Python side")]
    #[pyo3(signature = (
        tables, *, constitution, proposal_id, proposal, proposer_id, ballots, before_resolve, before_apply,
        validate, apply, ledger_secret_seqno, delete_answers = false
    ))]
    fn submit(
        &self,
        py: Python<'_>,
        tables: &GovernanceTables,
        constitution: &str,
        proposal_id: String,
        proposal: &[u8],
        proposer_id: String,
        ballots: BTreeMap<String, String>,
        before_resolve: &Bound<'_, PyDict>,
        before_apply: &Bound<'_, PyDict>,
        validate: bool,
        apply: bool,
        ledger_secret_seqno: u64,
        delete_answers: bool,
    ) -> PyResult<()> {
        let mut task = Task {
            tables: locked(&tables.0).clone(),
            before_resolve: write_set(before_resolve)?,
            before_apply: write_set(before_apply)?,
            constitution: py.detach(|| self.program(constitution)),
            proposal_id,
            proposal: String::from_utf8_lossy(proposal).into(),
            proposer_id,
            ballots: ballots.into_iter().collect(),
            validate,
            apply,
            ledger_secret_seqno,
            delete_answers,
            budget: self.budget,
        };
        loop {
            let returned = py.detach(|| {
                let mut pool = locked(&self.pool);
                let returned = pool.try_submit(task)?;
                if returned.is_some() {
                    pool.wait(WAIT_SLICE);
                }
                Ok(returned)
            });
            match returned.map_err(|error| limit(py, error))? {
                None => return Ok(()),
                Some(back) => task = back,
            }
            py.check_signals()?;
        }
    }

    fn outcomes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut ready = std::mem::take(&mut *locked(&self.kept));
        ready.extend(locked(&self.pool).take());
        Self::outcome_list(py, ready)
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        loop {
            let waited = py.detach(|| {
                let mut pool = locked(&self.pool);
                locked(&self.kept).extend(pool.take());
                if pool.pending() == 0 {
                    return Ok(true);
                }
                pool.check()?;
                pool.wait(WAIT_SLICE);
                Ok(false)
            });
            if waited.map_err(|error| limit(py, error))? {
                return self.outcomes(py);
            }
            py.check_signals()?;
        }
    }

    #[getter]
    fn pending(&self) -> u64 {
        locked(&self.pool).pending()
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("GOVERNANCE_PLACEHOLDER", PLACEHOLDER_PATTERN)?;
    module.add_class::<ScriptFailure>()?;
    module.add_class::<GovernanceTables>()?;
    module.add_class::<GovernanceOutcome>()?;
    module.add_class::<GovernanceReplayer>()
}
