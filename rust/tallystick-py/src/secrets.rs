//! Binding of what opens private state: sealed boxes of shares, and many private domains at once.
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tallystick_core::ledger::crypto;
use tallystick_core::ledger::entry::Entry as CoreEntry;
use tallystick_core::secretbox;

use crate::error::coded;
use crate::ledger::Entry;

#[pyfunction]
fn open_secret_box<'py>(py: Python<'py>, key: &[u8], sealed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let key: &[u8; 32] = key
        .try_into()
        .map_err(|_| PyValueError::new_err(format!("key has {} bytes: expected 32", key.len())))?;
    let message = secretbox::open(key, sealed).map_err(|error| coded(py, &error, None))?;
    Ok(PyBytes::new(py, &message))
}

#[pyfunction]
fn open_private_domains<'py>(
    py: Python<'py>,
    entries: Vec<PyRef<'py, Entry>>,
    secrets: Vec<Option<Vec<u8>>>,
) -> PyResult<Vec<Option<Bound<'py, PyBytes>>>> {
    if entries.len() != secrets.len() {
        return Err(PyValueError::new_err(format!(
            "{} entries with {} secrets",
            entries.len(),
            secrets.len()
        )));
    }
    let tasks: Vec<(CoreEntry, Option<Vec<u8>>)> =
        entries.iter().map(|entry| entry.entry.clone()).zip(secrets).collect();
    drop(entries);
    let opened = py.detach(move || crypto::open_many(&tasks));
    Ok(opened.into_iter().map(|plaintext| plaintext.map(|bytes| PyBytes::new(py, &bytes))).collect())
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(open_secret_box, module)?)?;
    module.add_function(wrap_pyfunction!(open_private_domains, module)?)
}
