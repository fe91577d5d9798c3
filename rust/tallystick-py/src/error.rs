//! The one place where an error of the core becomes a Python exception.
//!
//! The exception classes are written in Python (`tallystick.errors`) and imported here, so that their
//! hierarchy and documentation have one home.
use pyo3::exceptions::PyOSError;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::Path;
use tallystick_core::error::Coded;
use tallystick_core::scan::ScannedError;

import_exception!(tallystick.errors, FormatError);
import_exception!(tallystick.errors, LimitExceededError);
import_exception!(tallystick.errors, UndecidedError);
import_exception!(tallystick.errors, UsageError);
import_exception!(tallystick.errors, VerificationError);

/// Converts `error`, met at `offset` bytes into the input, into a `FormatError` or `LimitExceededError`.
pub(crate) fn coded(py: Python<'_>, error: &dyn Coded, offset: Option<u64>) -> PyErr {
    let class =
        if error.is_limit() { py.get_type::<LimitExceededError>() } else { py.get_type::<FormatError>() };
    let build = || -> PyResult<PyErr> {
        let kwargs = PyDict::new(py);
        kwargs.set_item("code", error.code())?;
        kwargs.set_item("offset", offset)?;
        Ok(PyErr::from_value(class.call((error.to_string(),), Some(&kwargs))?))
    };
    build().unwrap_or_else(|failure| failure)
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Format,
    Usage,
    Verification,
}

/// An exception of the class that `kind` names, about `file` if there is one.
pub(crate) fn coded_as(py: Python<'_>, kind: Kind, code: &str, message: &str, file: Option<&Path>) -> PyErr {
    let class = match kind {
        Kind::Format => py.get_type::<FormatError>(),
        Kind::Usage => py.get_type::<UsageError>(),
        Kind::Verification => py.get_type::<VerificationError>(),
    };
    let build = || -> PyResult<PyErr> {
        let kwargs = PyDict::new(py);
        kwargs.set_item("code", code)?;
        kwargs.set_item("file", file.map(Path::to_string_lossy))?;
        Ok(PyErr::from_value(class.call((message,), Some(&kwargs))?))
    };
    build().unwrap_or_else(|failure| failure)
}

/// What a scan elsewhere sent back is of no use: nothing can be said about the ledger.
pub(crate) fn engine_failed(py: Python<'_>, error: &ScannedError) -> PyErr {
    let build = || -> PyResult<PyErr> {
        let kwargs = PyDict::new(py);
        kwargs.set_item("code", "engine-failed")?;
        Ok(PyErr::from_value(py.get_type::<UndecidedError>().call((error.to_string(),), Some(&kwargs))?))
    };
    build().unwrap_or_else(|failure| failure)
}

/// Converts an I/O error on `path` into the `OSError` subclass that Python itself would raise.
pub(crate) fn io(error: &std::io::Error, path: &str) -> PyErr {
    match error.raw_os_error() {
        Some(errno) => PyOSError::new_err((errno, error.kind().to_string(), path.to_owned())),
        None => PyOSError::new_err(format!("{path}: {error}")),
    }
}
