//! Binding of `tallystick_core::ledger`.
use std::path::PathBuf;
use std::sync::OnceLock;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use tallystick_core::error::all_codes;
use tallystick_core::ledger::chunk::{self, EntryReader, FileError};
use tallystick_core::ledger::crypto::{self, CryptoError};
use tallystick_core::ledger::domain::{self, Changes, EncodeError, PublicFields, Tables, Visitor};
use tallystick_core::ledger::entry::{Entry as CoreEntry, EntryView};
use tallystick_core::ledger::writer::{self, WriteError};
use tallystick_core::ledger::{Domain, EntryType};
use tallystick_core::reader::Reader;
use tallystick_core::types::{Digest, TxId};

use crate::error::{coded, io};
use crate::merkle::digest;
use crate::secrets::SecretArg;

import_exception!(tallystick.errors, VerificationError);

pub(crate) fn file_error(py: Python<'_>, error: &FileError, path: &std::path::Path) -> PyErr {
    match error.coded() {
        Ok((error, offset)) => coded(py, error, Some(offset)),
        Err(error) => io(error, &path.to_string_lossy()),
    }
}

fn write_error(py: Python<'_>, error: &WriteError, path: &std::path::Path) -> PyErr {
    match error.coded() {
        Ok(error) => coded(py, error, None),
        Err(error) => io(error, &path.to_string_lossy()),
    }
}

fn encode_error(error: &EncodeError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

pub(crate) fn crypto_error(error: &CryptoError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Collects what a transaction wrote into dictionaries.
struct TablesToPy<'py> {
    py: Python<'py>,
    tables: Bound<'py, PyDict>,
    current: Option<Bound<'py, PyDict>>,
    failure: Option<PyErr>,
}

impl<'py> TablesToPy<'py> {
    fn new(py: Python<'py>) -> Self {
        Self { py, tables: PyDict::new(py), current: None, failure: None }
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        if let Some(current) = &self.current {
            let value = value.map(|value| PyBytes::new(self.py, value));
            if let Err(failure) = current.set_item(PyBytes::new(self.py, key), value) {
                self.failure.get_or_insert(failure);
            }
        }
    }

    fn finish(self) -> PyResult<Bound<'py, PyDict>> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.tables),
        }
    }
}

impl<'a> Visitor<'a> for TablesToPy<'_> {
    fn map(&mut self, name: &'a str) {
        let table = PyDict::new(self.py);
        if let Err(failure) = self.tables.set_item(PyString::intern(self.py, name), &table) {
            self.failure.get_or_insert(failure);
        }
        self.current = Some(table);
    }
    fn write(&mut self, key: &'a [u8], value: &'a [u8]) {
        self.put(key, Some(value));
    }
    fn remove(&mut self, key: &'a [u8]) {
        self.put(key, None);
    }
}

struct Names<'a>(Vec<&'a str>);

impl<'a> Visitor<'a> for Names<'a> {
    fn map(&mut self, name: &'a str) {
        self.0.push(name);
    }
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct Entry {
    pub(crate) entry: CoreEntry,
    write_set_digest: OnceLock<Digest>,
}

impl From<CoreEntry> for Entry {
    fn from(entry: CoreEntry) -> Self {
        Self { entry, write_set_digest: OnceLock::new() }
    }
}

impl Entry {
    fn cached_write_set_digest(&self) -> &Digest {
        self.write_set_digest.get_or_init(|| self.entry.write_set_digest())
    }

    fn view(&self, py: Python<'_>) -> PyResult<EntryView<'_>> {
        EntryView::parse(self.entry.raw()).map_err(|error| coded(py, &error, Some(self.entry.offset())))
    }

    fn head(&self, py: Python<'_>) -> PyResult<domain::PublicHead<'_>> {
        self.entry.head().map_err(|error| coded(py, &error, Some(self.entry.offset())))
    }
}

#[pymethods]
impl Entry {
    #[staticmethod]
    fn parse(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        CoreEntry::new(data, 0).map(Self::from).map_err(|error| coded(py, &error, Some(0)))
    }
    #[getter]
    fn seqno(&self) -> u64 {
        self.entry.txid().seqno
    }
    #[getter(view)]
    fn view_(&self) -> u64 {
        self.entry.txid().view
    }
    #[getter]
    fn flags(&self) -> u8 {
        self.entry.flags()
    }
    #[getter]
    fn entry_type(&self) -> u8 {
        self.entry.entry_type() as u8
    }
    #[getter]
    fn offset(&self) -> u64 {
        self.entry.offset()
    }
    #[getter]
    fn size(&self) -> usize {
        self.entry.raw().len()
    }
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.entry.raw())
    }
    #[getter]
    fn public_domain<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.entry.public_domain())
    }
    #[getter]
    fn private_domain<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.entry.private_domain())
    }
    #[getter]
    fn gcm_tag<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.entry.gcm_tag())
    }
    #[getter]
    fn gcm_iv<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.entry.gcm_iv())
    }
    #[getter]
    fn claims_digest<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(self.head(py)?.claims_digest.map(|digest| PyBytes::new(py, digest)))
    }
    #[getter]
    fn commit_evidence_digest<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(self.head(py)?.commit_evidence_digest.map(|digest| PyBytes::new(py, digest)))
    }
    #[getter]
    fn write_set_digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.cached_write_set_digest())
    }
    #[getter]
    fn leaf<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let head = self.head(py)?;
        let leaf = tallystick_core::ledger::entry::leaf(
            self.cached_write_set_digest(),
            head.claims_digest,
            head.commit_evidence_digest,
        );
        Ok(PyBytes::new(py, &leaf))
    }
    #[getter]
    fn max_conflict_version(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.head(py)?.max_conflict_version)
    }
    fn table_names<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyString>>> {
        let mut names = Names(Vec::new());
        self.entry.walk(&mut names).map_err(|error| coded(py, &error, Some(self.entry.offset())))?;
        Ok(names.0.into_iter().map(|name| PyString::intern(py, name)).collect())
    }
    fn tables<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut tables = TablesToPy::new(py);
        self.entry.walk(&mut tables).map_err(|error| coded(py, &error, Some(self.entry.offset())))?;
        tables.finish()
    }
    fn table<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut tables = TablesToPy::new(py);
        let mut one = OneTable { name, inner: &mut tables };
        self.entry.walk(&mut one).map_err(|error| coded(py, &error, Some(self.entry.offset())))?;
        tables.finish()?.get_item(name)
    }
    fn __repr__(&self) -> String {
        format!("<Entry {}, {} bytes>", self.entry.txid(), self.entry.raw().len())
    }
}

/// Lets one table through.
struct OneTable<'n, 'py, 't> {
    name: &'n str,
    inner: &'t mut TablesToPy<'py>,
}

impl<'a> Visitor<'a> for OneTable<'_, '_, '_> {
    fn map(&mut self, name: &'a str) {
        if name == self.name {
            self.inner.map(name);
        } else {
            self.inner.current = None;
        }
    }
    fn write(&mut self, key: &'a [u8], value: &'a [u8]) {
        self.inner.write(key, value);
    }
    fn remove(&mut self, key: &'a [u8]) {
        self.inner.remove(key);
    }
}

#[pyfunction]
fn parse_private_domain<'py>(py: Python<'py>, plaintext: &[u8]) -> PyResult<Bound<'py, PyDict>> {
    let mut tables = TablesToPy::new(py);
    domain::walk(Reader::new(plaintext), Domain::Private, &mut tables)
        .map_err(|error| coded(py, &error, None))?;
    tables.finish()
}

#[pyclass(frozen, module = "tallystick._native")]
struct ChunkFile(chunk::ChunkFile);

#[pymethods]
impl ChunkFile {
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| chunk::ChunkFile::open(&path)).map(Self).map_err(|error| file_error(py, &error, &path))
    }
    #[getter]
    fn path(&self) -> String {
        self.0.path().to_string_lossy().into_owned()
    }
    #[getter]
    fn size(&self) -> u64 {
        self.0.size()
    }
    #[getter]
    fn complete(&self) -> bool {
        self.0.is_complete()
    }
    #[getter]
    fn first_seqno(&self) -> Option<u64> {
        self.0.first_seqno()
    }
    #[getter]
    fn entry_count(&self) -> u64 {
        self.0.entry_count()
    }
    #[getter]
    fn partial_tail(&self) -> Option<(u64, u64)> {
        self.0.partial_tail()
    }
    #[getter]
    fn tail_damage(&self, py: Python<'_>) -> PyResult<Option<String>> {
        py.detach(|| self.0.tail_damage()).map_err(|error| io(&error, &self.0.path().to_string_lossy()))
    }
    #[pyo3(signature = (start=0, count=None))]
    fn entries(&self, py: Python<'_>, start: u64, count: Option<u64>) -> PyResult<EntryIterator> {
        let reader = py
            .detach(|| self.0.entries_from(start))
            .map_err(|error| file_error(py, &error, self.0.path()))?;
        let left = count.unwrap_or(u64::MAX).min(self.0.entry_count().saturating_sub(start));
        Ok(EntryIterator { reader, left, path: self.0.path().to_owned() })
    }
    fn entry(&self, py: Python<'_>, position: u64) -> PyResult<Entry> {
        let found = py.detach(|| self.0.entries_from(position)?.next_entry());
        match found.map_err(|error| file_error(py, &error, self.0.path()))? {
            Some(entry) => Ok(entry.into()),
            None => Err(PyIndexError::new_err(format!(
                "position: expected below {}, got {position}",
                self.0.entry_count()
            ))),
        }
    }
}

#[pyclass(module = "tallystick._native")]
struct EntryIterator {
    reader: EntryReader,
    left: u64,
    path: PathBuf,
}

#[pymethods]
impl EntryIterator {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }
    fn __next__(&mut self, py: Python<'_>) -> PyResult<Option<Entry>> {
        if self.left == 0 {
            return Ok(None);
        }
        // The GIL is kept: most calls only cut an entry out of a block that is in memory.
        let entry = self.reader.next_entry().map_err(|error| {
            self.left = 0;
            file_error(py, &error, &self.path)
        })?;
        self.left = if entry.is_some() { self.left - 1 } else { 0 };
        Ok(entry.map(Entry::from))
    }
}

#[pyfunction]
fn first_difference(py: Python<'_>, path_a: PathBuf, path_b: PathBuf) -> PyResult<Option<(u64, u64, u64)>> {
    let open = |path: &PathBuf| {
        py.detach(|| chunk::ChunkFile::open(path)).map_err(|error| file_error(py, &error, path))
    };
    let (a, b) = (open(&path_a)?, open(&path_b)?);
    let found = py.detach(|| chunk::first_difference(&a, &b));
    let found = found.map_err(|error| file_error(py, &error, &path_a))?;
    Ok(found.map(|difference| (difference.seqno, difference.offset_a, difference.offset_b)))
}

fn tables_from_py(tables: &Bound<'_, PyDict>) -> PyResult<Tables> {
    let mut all = Vec::with_capacity(tables.len());
    for (name, changes) in tables {
        let changes = changes.cast_into::<PyDict>()?;
        let rows: PyResult<Changes> =
            changes.iter().map(|(key, value)| Ok((key.extract()?, value.extract()?))).collect();
        all.push((name.extract()?, rows?));
    }
    Ok(all)
}

#[pyfunction]
#[pyo3(signature = (seqno, tables, *, entry_type=4, claims_digest=None, commit_evidence_digest=None, max_conflict_version=0))]
fn encode_public_domain<'py>(
    py: Python<'py>,
    seqno: u64,
    tables: &Bound<'py, PyDict>,
    entry_type: u8,
    claims_digest: Option<&[u8]>,
    commit_evidence_digest: Option<&[u8]>,
    max_conflict_version: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let or_zero = |name, bytes: Option<&[u8]>| bytes.map_or(Ok([0; 32]), |bytes| digest(name, bytes));
    let fields = PublicFields {
        entry_type: EntryType::from_byte(entry_type)
            .map_err(|error| PyValueError::new_err(error.to_string()))?,
        version: seqno,
        claims_digest: or_zero("claims_digest", claims_digest)?,
        commit_evidence_digest: or_zero("commit_evidence_digest", commit_evidence_digest)?,
        max_conflict_version,
    };
    let bytes =
        domain::encode_public(&fields, tables_from_py(tables)?).map_err(|error| encode_error(&error))?;
    Ok(PyBytes::new(py, &bytes))
}

#[pyfunction]
fn encode_private_domain<'py>(py: Python<'py>, tables: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = domain::encode_private(tables_from_py(tables)?).map_err(|error| encode_error(&error))?;
    Ok(PyBytes::new(py, &bytes))
}

#[pyfunction]
#[pyo3(signature = (view, seqno, public_domain, private_plaintext, ledger_secret, *, flags=0))]
fn seal_entry<'py>(
    py: Python<'py>,
    view: u64,
    seqno: u64,
    public_domain: &[u8],
    private_plaintext: &[u8],
    ledger_secret: SecretArg<'py>,
    flags: u8,
) -> PyResult<Bound<'py, PyBytes>> {
    let txid = TxId { view, seqno };
    let entry =
        crypto::seal_entry(txid, flags, public_domain, private_plaintext.to_vec(), ledger_secret.as_slice());
    Ok(PyBytes::new(py, &entry.map_err(|error| crypto_error(&error))?))
}

#[pyfunction]
#[pyo3(signature = (view, seqno, public_domain, private_ciphertext, gcm_tag, *, flags=0))]
fn assemble_entry<'py>(
    py: Python<'py>,
    view: u64,
    seqno: u64,
    public_domain: &[u8],
    private_ciphertext: &[u8],
    gcm_tag: &[u8],
    flags: u8,
) -> PyResult<Bound<'py, PyBytes>> {
    let tag = <&[u8; 16]>::try_from(gcm_tag)
        .map_err(|_| PyValueError::new_err(format!("gcm_tag: expected 16 bytes, got {}", gcm_tag.len())))?;
    let iv = crypto::transaction_iv(TxId { view, seqno }).map_err(|error| crypto_error(&error))?;
    let entry = crypto::assemble(flags, tag, &iv, public_domain, private_ciphertext);
    Ok(PyBytes::new(py, &entry.map_err(|error| crypto_error(&error))?))
}

#[pyfunction]
fn open_private_domain<'py>(
    py: Python<'py>,
    entry: &Entry,
    ledger_secret: SecretArg<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    match crypto::open(&entry.view(py)?, ledger_secret.as_slice()) {
        Ok(plaintext) => Ok(PyBytes::new(py, &plaintext)),
        Err(CryptoError::Tag { txid, tag }) => {
            let message = CryptoError::Tag { txid, tag }.to_string();
            let kwargs = PyDict::new(py);
            kwargs.set_item("code", "entry-gcm-tag")?;
            kwargs.set_item("offset", entry.entry.offset())?;
            kwargs.set_item("txid", txid.to_string())?;
            Err(PyErr::from_value(py.get_type::<VerificationError>().call((message,), Some(&kwargs))?))
        }
        Err(error) => Err(crypto_error(&error)),
    }
}

#[pyfunction]
fn commit_evidence(ledger_secret: SecretArg<'_>, view: u64, seqno: u64) -> PyResult<String> {
    crypto::commit_evidence(ledger_secret.as_slice(), TxId { view, seqno })
        .map_err(|error| crypto_error(&error))
}

#[pyclass(module = "tallystick._native")]
struct ChunkWriter {
    writer: Option<writer::ChunkWriter>,
    path: PathBuf,
}

impl ChunkWriter {
    fn open(&mut self) -> PyResult<&mut writer::ChunkWriter> {
        self.writer.as_mut().ok_or_else(|| PyValueError::new_err("the chunk is complete or closed"))
    }
}

#[pymethods]
impl ChunkWriter {
    #[new]
    fn new(directory: PathBuf, first_seqno: u64) -> PyResult<Self> {
        let path = directory.join(format!("ledger_{first_seqno}"));
        let writer = writer::ChunkWriter::create(directory, first_seqno)
            .map_err(|error| io(&error, &path.to_string_lossy()))?;
        Ok(Self { writer: Some(writer), path })
    }
    fn append(&mut self, py: Python<'_>, entry: &[u8]) -> PyResult<()> {
        let path = self.path.clone();
        self.open()?.append(entry).map_err(|error| write_error(py, &error, &path))
    }
    fn append_many(&mut self, py: Python<'_>, entries: Vec<Bound<'_, PyBytes>>) -> PyResult<()> {
        let path = self.path.clone();
        let writer = self.open()?;
        for entry in entries {
            writer.append(entry.as_bytes()).map_err(|error| write_error(py, &error, &path))?;
        }
        Ok(())
    }
    #[pyo3(signature = (*, committed=true))]
    fn complete(&mut self, py: Python<'_>, committed: bool) -> PyResult<String> {
        let path = self.path.clone();
        let writer = self.open()?;
        let done =
            py.detach(|| writer.complete(committed)).map_err(|error| write_error(py, &error, &path))?;
        self.writer = None;
        self.path.clone_from(&done);
        Ok(done.to_string_lossy().into_owned())
    }
    fn close(&mut self) -> PyResult<String> {
        let path = self.path.to_string_lossy().into_owned();
        self.open()?.flush().map_err(|error| io(&error, &path))?;
        self.writer = None;
        Ok(path)
    }
    #[getter]
    fn size(&mut self) -> PyResult<u64> {
        Ok(self.open()?.size())
    }
}

#[pyfunction]
fn finding_codes() -> Vec<&'static str> {
    all_codes()
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Entry>()?;
    module.add_class::<ChunkFile>()?;
    module.add_class::<ChunkWriter>()?;
    module.add_function(wrap_pyfunction!(finding_codes, module)?)?;
    module.add_function(wrap_pyfunction!(parse_private_domain, module)?)?;
    module.add_function(wrap_pyfunction!(first_difference, module)?)?;
    module.add_function(wrap_pyfunction!(encode_public_domain, module)?)?;
    module.add_function(wrap_pyfunction!(encode_private_domain, module)?)?;
    module.add_function(wrap_pyfunction!(seal_entry, module)?)?;
    module.add_function(wrap_pyfunction!(assemble_entry, module)?)?;
    module.add_function(wrap_pyfunction!(open_private_domain, module)?)?;
    module.add_function(wrap_pyfunction!(commit_evidence, module)?)
}
