//! Binding of `tallystick_core::scan`.
use std::path::PathBuf;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList};
use tallystick_core::merkle::{Frontier, Tree};
use tallystick_core::scan::{self, Level, Options, Part, ScanAhead, ScanError, ScannedFold, Scanner, Start};
use tallystick_core::types::{Digest, to_hex};

use crate::error::{engine_failed, io};
use crate::export::{TransactionRows, WriteRows, rows_of};
use crate::ledger::Entry;
use crate::merkle::MerkleTree;
use crate::signature::SignatureBatch;

#[pyclass(frozen, module = "tallystick._native")]
struct ScanFinding(scan::Finding);

#[pymethods]
impl ScanFinding {
    #[getter]
    fn code(&self) -> &'static str {
        self.0.code
    }
    #[getter]
    fn message(&self) -> &str {
        &self.0.message
    }
    #[getter]
    fn file_index(&self) -> usize {
        self.0.file_index
    }
    #[getter]
    fn offset(&self) -> Option<u64> {
        self.0.offset
    }
    #[getter]
    fn view(&self) -> Option<u64> {
        self.0.txid.map(|txid| txid.view)
    }
    #[getter]
    fn seqno(&self) -> Option<u64> {
        self.0.txid.map(|txid| txid.seqno)
    }
    fn __repr__(&self) -> String {
        format!("<ScanFinding {}: {}>", self.0.code, self.0.message)
    }
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct SignatureRecord {
    pub(crate) record: scan::SignatureRecord,
}

fn bytes_or_none<'py>(py: Python<'py>, digest: Option<&Digest>) -> Option<Bound<'py, PyBytes>> {
    digest.map(|digest| PyBytes::new(py, digest))
}

#[pymethods]
impl SignatureRecord {
    #[getter]
    fn seqno(&self) -> u64 {
        self.record.txid.seqno
    }
    #[getter]
    fn view(&self) -> u64 {
        self.record.txid.view
    }
    #[getter]
    fn file_index(&self) -> usize {
        self.record.file_index
    }
    #[getter]
    fn offset(&self) -> u64 {
        self.record.offset
    }
    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        bytes_or_none(py, self.record.root.as_ref())
    }
    #[getter]
    fn root_holds(&self) -> bool {
        self.record.root_holds
    }
    #[getter]
    fn first_proven(&self) -> Option<u64> {
        self.record.first_proven
    }
    #[getter]
    fn has_raw(&self) -> bool {
        self.record.raw.is_some()
    }
    #[getter]
    fn has_cose(&self) -> bool {
        self.record.cose.is_some()
    }
    #[getter]
    fn node_id(&self) -> Option<String> {
        self.record.raw.as_ref().map(|raw| to_hex(&raw.node))
    }
    #[getter]
    fn certificate_pem<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let pem = self.record.raw.as_ref()?.certificate.as_ref()?;
        Some(PyBytes::new(py, pem.as_bytes()))
    }
    #[getter]
    fn raw_signature<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.record.raw.as_ref().map(|raw| PyBytes::new(py, &raw.signature))
    }
    #[getter]
    fn raw_root<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        bytes_or_none(py, self.record.raw.as_ref().map(|raw| &raw.root))
    }
    #[getter]
    fn cose<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.record.cose.as_ref().map(|cose| PyBytes::new(py, &cose.cose))
    }
    #[getter]
    fn cose_kid(&self) -> Option<String> {
        self.record.cose.as_ref()?.kid.as_ref().map(|kid| to_hex(kid))
    }
    #[getter]
    fn cose_algorithm(&self) -> Option<i64> {
        self.record.cose.as_ref().map(|cose| cose.algorithm)
    }
    #[getter]
    fn cose_issuer(&self) -> Option<&str> {
        self.record.cose.as_ref()?.issuer.as_deref()
    }
    #[getter]
    fn cose_subject(&self) -> Option<&str> {
        self.record.cose.as_ref()?.subject.as_deref()
    }
    #[getter]
    fn cose_issued_at(&self) -> Option<i64> {
        self.record.cose.as_ref()?.issued_at
    }
    fn __repr__(&self) -> String {
        format!("<SignatureRecord {}>", self.record.txid)
    }
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct ScanBatch {
    file_index: usize,
    first_seqno: u64,
    count: u64,
    bytes: u64,
    last_view: u64,
    last_offset: u64,
    signatures: Py<PyList>,
    notable: Py<PyList>,
    findings: Py<PyList>,
    leaves: Vec<Digest>,
    pub(crate) transaction_rows: Option<Py<TransactionRows>>,
    write_rows: Option<Py<WriteRows>>,
}

impl ScanBatch {
    fn new(py: Python<'_>, batch: scan::Batch) -> PyResult<Self> {
        let signatures: PyResult<Vec<_>> =
            batch.signatures.into_iter().map(|record| Py::new(py, SignatureRecord { record })).collect();
        let notable: PyResult<Vec<_>> =
            batch.notable.into_iter().map(|entry| Py::new(py, Entry::from(entry))).collect();
        let findings: PyResult<Vec<_>> =
            batch.findings.into_iter().map(|finding| Py::new(py, ScanFinding(finding))).collect();
        let (transaction_rows, write_rows) = rows_of(py, batch.columns)?;
        Ok(Self {
            file_index: batch.file_index,
            first_seqno: batch.first_seqno,
            count: batch.count,
            bytes: batch.bytes,
            last_view: batch.last_view,
            last_offset: batch.last_offset,
            signatures: PyList::new(py, signatures?)?.unbind(),
            notable: PyList::new(py, notable?)?.unbind(),
            findings: PyList::new(py, findings?)?.unbind(),
            leaves: batch.leaves,
            transaction_rows,
            write_rows,
        })
    }

    /// The list is built above, so that all of it are records.
    pub(crate) fn signature_records(&self, py: Python<'_>) -> Vec<Py<SignatureRecord>> {
        self.signatures.bind(py).iter().filter_map(|record| record.extract().ok()).collect()
    }
}

#[pymethods]
impl ScanBatch {
    #[getter]
    fn file_index(&self) -> usize {
        self.file_index
    }
    #[getter]
    fn first_seqno(&self) -> u64 {
        self.first_seqno
    }
    #[getter]
    fn count(&self) -> u64 {
        self.count
    }
    #[getter]
    fn bytes(&self) -> u64 {
        self.bytes
    }
    #[getter]
    fn last_view(&self) -> u64 {
        self.last_view
    }
    #[getter]
    fn last_offset(&self) -> u64 {
        self.last_offset
    }
    #[getter]
    fn signatures(&self, py: Python<'_>) -> Py<PyList> {
        self.signatures.clone_ref(py)
    }
    #[getter]
    fn notable(&self, py: Python<'_>) -> Py<PyList> {
        self.notable.clone_ref(py)
    }
    #[getter]
    fn findings(&self, py: Python<'_>) -> Py<PyList> {
        self.findings.clone_ref(py)
    }
    #[getter]
    fn leaves<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.leaves.as_flattened())
    }
    #[getter]
    fn transaction_rows(&self, py: Python<'_>) -> Option<Py<TransactionRows>> {
        self.transaction_rows.as_ref().map(|rows| rows.clone_ref(py))
    }
    #[getter]
    fn write_rows(&self, py: Python<'_>) -> Option<Py<WriteRows>> {
        self.write_rows.as_ref().map(|rows| rows.clone_ref(py))
    }
    fn __repr__(&self) -> String {
        format!("<ScanBatch of {} from seqno {}>", self.count, self.first_seqno)
    }
}

fn level_from_py(level: &str) -> PyResult<Level> {
    Ok(match level {
        "parse" => Level::Parse,
        "offsets" => Level::Offsets,
        "headers" => Level::Headers,
        // Signatures are checked elsewhere, so for a scan the two are the same.
        "merkle" | "full" => Level::Merkle,
        other => {
            let levels = "parse, offsets, headers, merkle or full";
            return Err(PyValueError::new_err(format!("level: expected {levels}, got {other:?}")));
        }
    })
}

fn seqno_of(
    name: &str,
    seqnos: Option<&Vec<Option<u64>>>,
    index: usize,
    parts: usize,
) -> PyResult<Option<u64>> {
    match seqnos {
        None => Ok(None),
        Some(seqnos) if seqnos.len() != parts => Err(PyValueError::new_err(format!(
            "{name}: expected one for each of {parts} paths, got {}",
            seqnos.len()
        ))),
        Some(seqnos) => Ok(seqnos.get(index).copied().flatten()),
    }
}

enum Source {
    /// All of it here, in threads of its own.
    Files(Box<ScanAhead>),
    /// The fold alone, over what was scanned elsewhere.
    Scanned { fold: Box<ScannedFold>, outcomes: Py<PyIterator> },
}

#[pyclass(module = "tallystick._native")]
struct LedgerScanner {
    source: Source,
}

/// Scans one file on one core; the outcome is for `LedgerScanner.from_scanned`.
#[pyfunction]
#[pyo3(signature = (path, *, level="full", first_seqno=None, last_seqno=None, columns=false))]
fn scan_file<'py>(
    py: Python<'py>,
    path: PathBuf,
    level: &str,
    first_seqno: Option<u64>,
    last_seqno: Option<u64>,
    columns: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let (part, level) = (Part { path, first_seqno, last_seqno }, level_from_py(level)?);
    match py.detach(|| scan::scan_file(&part, level, columns)) {
        Ok(outcome) => Ok(PyBytes::new(py, &outcome)),
        Err(ScanError::Io { source, .. }) => Err(io(&source, &part.path.to_string_lossy())),
        Err(error @ ScanError::Worker) => Err(PyRuntimeError::new_err(error.to_string())),
    }
}

#[pymethods]
impl LedgerScanner {
    #[new]
    #[pyo3(signature = (
        paths, *, level="full", jobs=0, tree=None, first_seqno=None, previous_view=None,
        previous_was_signature=false, last_seqnos=None, first_seqnos=None,
        columns=false
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn new(
        paths: Vec<PathBuf>,
        level: &str,
        jobs: usize,
        tree: Option<PyRef<'_, MerkleTree>>,
        first_seqno: Option<u64>,
        previous_view: Option<u64>,
        previous_was_signature: bool,
        last_seqnos: Option<Vec<Option<u64>>>,
        first_seqnos: Option<Vec<Option<u64>>>,
        columns: bool,
    ) -> PyResult<Self> {
        let count = paths.len();
        let parts: PyResult<Vec<Part>> = paths
            .into_iter()
            .enumerate()
            .map(|(index, path)| {
                Ok(Part {
                    path,
                    first_seqno: seqno_of("first_seqnos", first_seqnos.as_ref(), index, count)?,
                    last_seqno: seqno_of("last_seqnos", last_seqnos.as_ref(), index, count)?,
                })
            })
            .collect();
        let tree: Option<Frontier> = tree.map(|tree| tree.tree.frontier());
        let start = Start { tree, first_seqno, previous_view, previous_was_signature };
        let options = Options { parts: parts?, level: level_from_py(level)?, jobs, start };
        let mut scanner = Scanner::new(options);
        if columns {
            scanner.collect_columns();
        }
        Ok(Self { source: Source::Files(Box::new(ScanAhead::new(scanner))) })
    }

    #[staticmethod]
    #[pyo3(signature = (
        outcomes, *, level="full", tree=None, first_seqno=None, previous_view=None, previous_was_signature=false
    ))]
    fn from_scanned(
        outcomes: &Bound<'_, PyAny>,
        level: &str,
        tree: Option<PyRef<'_, MerkleTree>>,
        first_seqno: Option<u64>,
        previous_view: Option<u64>,
        previous_was_signature: bool,
    ) -> PyResult<Self> {
        let tree: Option<Frontier> = tree.map(|tree| tree.tree.frontier());
        let start = Start { tree, first_seqno, previous_view, previous_was_signature };
        let fold = Box::new(ScannedFold::new(level_from_py(level)?, start));
        Ok(Self { source: Source::Scanned { fold, outcomes: outcomes.try_iter()?.unbind() } })
    }

    #[pyo3(signature = (signatures=None))]
    fn start(&mut self, py: Python<'_>, signatures: Option<PyRef<'_, SignatureBatch>>) -> PyResult<()> {
        let Source::Files(scanner) = &mut self.source else { return Ok(()) };
        let head_start = signatures.map(|batch| batch.head_start(py));
        scanner.start(head_start).map_err(|error| io(&error, ""))
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&mut self, py: Python<'_>) -> PyResult<Option<ScanBatch>> {
        let scanner = match &mut self.source {
            Source::Files(scanner) => scanner,
            Source::Scanned { fold, outcomes } => {
                let batch = next_scanned(py, fold, outcomes)?;
                return batch.map(|batch| ScanBatch::new(py, batch)).transpose();
            }
        };
        match py.detach(|| scanner.next_batch()) {
            Ok(batch) => batch.map(|batch| ScanBatch::new(py, batch)).transpose(),
            Err(ScanError::Io { file_index, source }) => {
                let path = scanner.parts().get(file_index).map(|part| part.path.to_string_lossy());
                Err(io(&source, &path.unwrap_or_default()))
            }
            Err(error @ ScanError::Worker) => Err(PyRuntimeError::new_err(error.to_string())),
        }
    }

    fn tree(&self) -> Option<MerkleTree> {
        let tree = match &self.source {
            Source::Files(scanner) => scanner.tree(),
            Source::Scanned { fold, .. } => fold.tree(),
        };
        tree.map(|frontier| MerkleTree { tree: Tree::from(frontier) })
    }

    #[getter]
    fn transactions(&self) -> u64 {
        match &self.source {
            Source::Files(scanner) => scanner.transactions(),
            Source::Scanned { fold, .. } => fold.transactions(),
        }
    }

    #[getter]
    fn bytes_read(&self) -> u64 {
        match &self.source {
            Source::Files(scanner) => scanner.bytes_read(),
            Source::Scanned { fold, .. } => fold.bytes_read(),
        }
    }
}

/// The next batch; asks for further outcomes as they are needed.
fn next_scanned(
    py: Python<'_>,
    fold: &mut ScannedFold,
    outcomes: &Py<PyIterator>,
) -> PyResult<Option<scan::Batch>> {
    loop {
        if let Some(batch) = py.detach(|| fold.next_batch()) {
            return Ok(Some(batch));
        }
        let Some(outcome) = outcomes.bind(py).clone().next().transpose()? else { return Ok(None) };
        let outcome = outcome.cast_into::<PyBytes>()?;
        let bytes = outcome.as_bytes();
        py.detach(|| fold.feed(bytes)).map_err(|error| engine_failed(py, &error))?;
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(scan_file, module)?)?;
    module.add_class::<ScanFinding>()?;
    module.add_class::<SignatureRecord>()?;
    module.add_class::<ScanBatch>()?;
    module.add_class::<LedgerScanner>()
}
