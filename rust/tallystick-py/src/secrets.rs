//! Binding of key material. Python holds objects; bytes of a key become Python's only where a caller asks for them.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "key files are read here, so that Python never holds them"
)]
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PySlice};
use tallystick_core::error::Coded as _;
use tallystick_core::ledger::crypto;
use tallystick_core::ledger::entry::Entry as CoreEntry;
use tallystick_core::secrets::{self, SecretError};
use zeroize::Zeroizing;

use crate::error::{Kind, coded_as, io};
use crate::ledger::Entry;

/// Key files are short; anything longer is the wrong file.
const MAX_KEY_FILE_BYTES: u64 = 1 << 20;

fn refused(py: Python<'_>, error: &SecretError, file: Option<&Path>) -> PyErr {
    let kind = match error {
        SecretError::Unwrap
        | SecretError::Inconsistent { .. }
        | SecretError::OffPolynomial { .. }
        | SecretError::Box => Kind::Verification,
        // What a file that the caller named does not hold is the caller's mistake.
        _ if file.is_some() => Kind::Usage,
        SecretError::Length { .. } | SecretError::WrappedLength { .. } | SecretError::Share { .. } => {
            Kind::Format
        }
        _ => Kind::Usage,
    };
    coded_as(py, kind, error.code(), &error.to_string(), file)
}

fn no_random_numbers() -> PyErr {
    PyOSError::new_err("the system gives no random numbers")
}

fn read_key_file(py: Python<'_>, path: &Path) -> PyResult<Zeroizing<Vec<u8>>> {
    let read = || -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        if size > MAX_KEY_FILE_BYTES {
            return Ok(None);
        }
        // Large enough from the start, so that no piece is left behind when it grows.
        let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
        file.take(size).read_to_end(&mut content)?;
        Ok(Some(content))
    };
    match read() {
        Ok(Some(content)) => Ok(content),
        Ok(None) => Err(coded_as(
            py,
            Kind::Usage,
            "key-unreadable",
            "this is not a key file: it is too long",
            Some(path),
        )),
        Err(error) => Err(io(&error, &path.to_string_lossy())),
    }
}

#[pyclass(frozen, name = "LedgerSecret", module = "tallystick._native")]
pub(crate) struct LedgerSecret {
    pub(crate) key: Arc<secrets::SecretKey>,
}

impl From<secrets::SecretKey> for LedgerSecret {
    fn from(key: secrets::SecretKey) -> Self {
        Self { key: Arc::new(key) }
    }
}

#[pymethods]
impl LedgerSecret {
    #[new]
    fn new(py: Python<'_>, value: &[u8]) -> PyResult<Self> {
        secrets::SecretKey::copy_of(value).map(Self::from).map_err(|error| refused(py, &error, None))
    }

    #[staticmethod]
    fn take(py: Python<'_>, buffer: &Bound<'_, PyByteArray>) -> PyResult<Self> {
        let content = Zeroizing::new(buffer.to_vec());
        let key = secrets::SecretKey::copy_of(&content);
        // Of the same length, so that it is written over in place.
        buffer.set_item(PySlice::full(py), PyBytes::new_with(py, content.len(), |_| Ok(()))?)?;
        key.map(Self::from).map_err(|error| refused(py, &error, None))
    }

    #[staticmethod]
    fn random() -> PyResult<Self> {
        secrets::SecretKey::random().map(Self::from).ok_or_else(no_random_numbers)
    }

    #[pyo3(signature = (other, iv=None))]
    fn wrap<'py>(
        &self,
        py: Python<'py>,
        other: SecretArg<'py>,
        iv: Option<&[u8]>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let iv = iv.unwrap_or(&[0; 12]);
        let iv = <[u8; 12]>::try_from(iv)
            .map_err(|_| PyValueError::new_err(format!("iv: expected 12 bytes, got {}", iv.len())))?;
        let wrapped = other.key(py)?;
        let sealed = self.key.wrap(&wrapped, iv).map_err(|error| refused(py, &error, None))?;
        Ok(PyBytes::new(py, &sealed))
    }

    fn unwrap(&self, py: Python<'_>, wrapped: &[u8]) -> PyResult<Self> {
        self.key.unwrap(wrapped).map(Self::from).map_err(|error| refused(py, &error, None))
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.key.expose())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self.key == other.get().key)
    }

    #[expect(clippy::unused_self, reason = "nothing of it is shown")]
    fn __repr__(&self) -> &'static str {
        "LedgerSecret(…)"
    }
}

/// A ledger secret as an argument: held natively, or in bytes of the caller's.
#[derive(FromPyObject)]
pub(crate) enum SecretArg<'py> {
    #[pyo3(transparent)]
    Held(PyRef<'py, LedgerSecret>),
    #[pyo3(transparent)]
    Bytes(PyBackedBytes),
}

impl SecretArg<'_> {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Held(secret) => secret.key.expose(),
            Self::Bytes(bytes) => bytes,
        }
    }

    pub(crate) fn key(&self, py: Python<'_>) -> PyResult<Arc<secrets::SecretKey>> {
        match self {
            Self::Held(secret) => Ok(Arc::clone(&secret.key)),
            Self::Bytes(bytes) => {
                secrets::SecretKey::copy_of(bytes).map(Arc::new).map_err(|error| refused(py, &error, None))
            }
        }
    }
}

#[pyclass(frozen, name = "RecoveryShare", module = "tallystick._native")]
struct RecoveryShare {
    share: secrets::Share,
}

#[pymethods]
impl RecoveryShare {
    #[staticmethod]
    fn parse(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let share = secrets::Share::parse(data).map_err(|error| refused(py, &error, None))?;
        Ok(Self { share })
    }

    #[staticmethod]
    fn parse_text(py: Python<'_>, text: &str) -> PyResult<Self> {
        let share = secrets::Share::parse_any(text.as_bytes()).map_err(|error| refused(py, &error, None))?;
        Ok(Self { share })
    }

    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let content = read_key_file(py, &path)?;
        let share = secrets::Share::parse_any(&content).map_err(|error| refused(py, &error, Some(&path)))?;
        Ok(Self { share })
    }

    #[getter]
    fn x(&self) -> u32 {
        self.share.x()
    }

    fn serialise<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.share.serialise().map_err(|error| refused(py, &error, None))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self.share == other.get().share)
    }

    fn __repr__(&self) -> String {
        format!("RecoveryShare(x={}, …)", self.share.x())
    }
}

#[pyclass(frozen, name = "ShareDecryptionKey", module = "tallystick._native")]
struct ShareDecryptionKey {
    key: secrets::DecryptionKey,
}

#[pymethods]
impl ShareDecryptionKey {
    #[staticmethod]
    fn from_pem(py: Python<'_>, pem: &[u8]) -> PyResult<Self> {
        let key = secrets::DecryptionKey::from_pem(pem).map_err(|error| refused(py, &error, None))?;
        Ok(Self { key })
    }

    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let content = read_key_file(py, &path)?;
        let key =
            secrets::DecryptionKey::from_pem(&content).map_err(|error| refused(py, &error, Some(&path)))?;
        Ok(Self { key })
    }

    fn decrypt_share(&self, py: Python<'_>, encrypted: &[u8]) -> PyResult<Option<RecoveryShare>> {
        let Some(plaintext) = py.detach(|| self.key.decrypt(encrypted)) else { return Ok(None) };
        let share = secrets::Share::parse(&plaintext).map_err(|error| refused(py, &error, None))?;
        Ok(Some(RecoveryShare { share }))
    }

    fn reveal_share<'py>(&self, py: Python<'py>, encrypted: &[u8]) -> Option<Bound<'py, PyBytes>> {
        py.detach(|| self.key.decrypt(encrypted)).map(|plaintext| PyBytes::new(py, &plaintext))
    }

    #[expect(clippy::unused_self, reason = "nothing of it is shown")]
    fn __repr__(&self) -> &'static str {
        "ShareDecryptionKey(…)"
    }
}

#[pyfunction]
fn read_ledger_secrets<'py>(
    py: Python<'py>,
    path: PathBuf,
    default_start: u64,
) -> PyResult<Bound<'py, PyDict>> {
    let content = read_key_file(py, &path)?;
    let keys =
        secrets::read_keys(&content, default_start).map_err(|error| refused(py, &error, Some(&path)))?;
    let by_start = PyDict::new(py);
    for (start, key) in keys {
        by_start.set_item(start, Py::new(py, LedgerSecret::from(key))?)?;
    }
    Ok(by_start)
}

#[pyfunction]
fn combine_shares(
    py: Python<'_>,
    shares: Vec<PyRef<'_, RecoveryShare>>,
    threshold: usize,
) -> PyResult<LedgerSecret> {
    let shares: Vec<&secrets::Share> = shares.iter().map(|share| &share.share).collect();
    secrets::combine(&shares, threshold).map(LedgerSecret::from).map_err(|error| refused(py, &error, None))
}

#[pyfunction]
fn split_shares(
    py: Python<'_>,
    participants: usize,
    threshold: usize,
) -> PyResult<(LedgerSecret, RecoveryShare, Vec<RecoveryShare>)> {
    let split = secrets::split(participants, threshold).map_err(|error| refused(py, &error, None))?;
    let (key, full, shares) = split.ok_or_else(no_random_numbers)?;
    let shares = shares.into_iter().map(|share| RecoveryShare { share }).collect();
    Ok((key.into(), RecoveryShare { share: full }, shares))
}

#[pyfunction]
fn open_private_domains<'py>(
    py: Python<'py>,
    entries: Vec<PyRef<'py, Entry>>,
    ledger_secrets: Vec<Option<PyRef<'py, LedgerSecret>>>,
) -> PyResult<Vec<Option<Bound<'py, PyBytes>>>> {
    if entries.len() != ledger_secrets.len() {
        let message = format!("{} entries with {} secrets", entries.len(), ledger_secrets.len());
        return Err(PyValueError::new_err(message));
    }
    let keys = ledger_secrets.iter().map(|secret| secret.as_ref().map(|secret| Arc::clone(&secret.key)));
    let tasks: Vec<(CoreEntry, Option<Arc<secrets::SecretKey>>)> =
        entries.iter().map(|entry| entry.entry.clone()).zip(keys).collect();
    drop((entries, ledger_secrets));
    let opened = py.detach(move || crypto::open_many(&tasks));
    Ok(opened.into_iter().map(|plaintext| plaintext.map(|bytes| PyBytes::new(py, &bytes))).collect())
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LedgerSecret>()?;
    module.add_class::<RecoveryShare>()?;
    module.add_class::<ShareDecryptionKey>()?;
    module.add_function(wrap_pyfunction!(read_ledger_secrets, module)?)?;
    module.add_function(wrap_pyfunction!(combine_shares, module)?)?;
    module.add_function(wrap_pyfunction!(split_shares, module)?)?;
    module.add_function(wrap_pyfunction!(open_private_domains, module)?)
}
