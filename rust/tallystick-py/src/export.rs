//! Binding of `tallystick_core::export`.
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use tallystick_core::export::{self, TransactionColumns, WriteColumns, csv, jsonl};
use tallystick_core::types::Digest;

use crate::scan::ScanBatch;

/// Little-endian, as Arrow has them on every machine that this runs on.
fn numbers<'py, T: Copy, const N: usize>(
    py: Python<'py>,
    values: &[T],
    bytes_of: impl Fn(T) -> [u8; N],
) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, values.len() * N, |target| {
        let (places, _) = target.as_chunks_mut::<N>();
        for (place, value) in places.iter_mut().zip(values) {
            *place = bytes_of(*value);
        }
        Ok(())
    })
}

fn longs<'py>(py: Python<'py>, values: &[i64]) -> PyResult<Bound<'py, PyBytes>> {
    numbers(py, values, i64::to_le_bytes)
}

fn ints<'py>(py: Python<'py>, values: &[i32]) -> PyResult<Bound<'py, PyBytes>> {
    numbers(py, values, i32::to_le_bytes)
}

fn set_txids(py: Python<'_>, all: &Bound<'_, PyDict>, view: &[i64], seqno: &[i64]) -> PyResult<()> {
    let (offsets, text) = py.detach(|| export::txids(view, seqno));
    all.set_item("txid_offsets", ints(py, &offsets)?)?;
    all.set_item("txid", PyBytes::new(py, &text))
}

fn digest_or_none<'py>(py: Python<'py>, digest: Option<&Digest>) -> Option<Bound<'py, PyBytes>> {
    digest.map(|digest| PyBytes::new(py, digest))
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct TransactionRows(TransactionColumns);

#[pymethods]
impl TransactionRows {
    fn __len__(&self) -> usize {
        self.0.len()
    }
    #[getter]
    fn file_index(&self) -> usize {
        self.0.file_index
    }
    fn buffers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (columns, all) = (&self.0, PyDict::new(py));
        set_txids(py, &all, &columns.view, &columns.seqno)?;
        for (name, values) in [
            ("view", &columns.view),
            ("seqno", &columns.seqno),
            ("offset", &columns.offset),
            ("size", &columns.size),
            ("private_size", &columns.private_size),
            ("signed_by", &columns.signed_by),
        ] {
            all.set_item(name, longs(py, values)?)?;
        }
        for (name, values) in [("entry_type", &columns.entry_type), ("flags", &columns.flags)] {
            all.set_item(name, PyBytes::new(py, values))?;
        }
        for (name, values) in [("write_set_digest", &columns.write_set_digest), ("leaf", &columns.leaf)] {
            all.set_item(name, PyBytes::new(py, values.as_flattened()))?;
        }
        for (name, digests) in [
            ("commit_evidence_digest", &columns.commit_evidence_digest),
            ("claims_digest", &columns.claims_digest),
            ("root", &columns.root),
        ] {
            all.set_item(name, PyBytes::new(py, digests.values.as_flattened()))?;
            all.set_item(format!("{name}?"), PyBytes::new(py, digests.present.as_bytes()))?;
        }
        all.set_item("is_signature", PyBytes::new(py, columns.is_signature.as_bytes()))?;
        Ok(all)
    }
    fn tuples<'py>(
        &self,
        py: Python<'py>,
        start: usize,
        stop: usize,
        file: i64,
    ) -> PyResult<Bound<'py, PyList>> {
        let (columns, rows) = (&self.0, PyList::empty(py));
        for at in start..stop.min(columns.len()) {
            let (view, seqno) = columns.txid(at);
            let long = |column: &[i64]| column.get(at).copied().unwrap_or(0);
            let root = columns.root.get(at);
            let numbers = (
                seqno,
                view,
                columns.entry_type.get(at).copied().unwrap_or(0),
                columns.flags.get(at).copied().unwrap_or(0),
                columns.is_signature.get(at),
                file,
                long(&columns.offset),
                long(&columns.size),
                long(&columns.private_size),
            );
            let digests = (
                digest_or_none(py, columns.write_set_digest.get(at)),
                digest_or_none(py, columns.commit_evidence_digest.get(at)),
                digest_or_none(py, columns.claims_digest.get(at)),
                digest_or_none(py, columns.leaf.get(at)),
                root.map(|_| long(&columns.signed_by)),
            );
            let row =
                numbers.into_pyobject(py)?.as_sequence().concat(digests.into_pyobject(py)?.as_sequence())?;
            rows.append(row)?;
        }
        Ok(rows)
    }
    fn csv<'py>(&self, py: Python<'py>, start: usize, stop: usize, file: &str) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| csv::transactions(&self.0, start..stop, file)))
    }
    fn jsonl<'py>(&self, py: Python<'py>, start: usize, stop: usize, file: &str) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| jsonl::transactions(&self.0, start..stop, file)))
    }
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct WriteRows(WriteColumns);

#[pymethods]
impl WriteRows {
    fn __len__(&self) -> usize {
        self.0.len()
    }
    #[getter]
    fn tables(&self) -> Vec<&str> {
        self.0.tables.iter().map(String::as_str).collect()
    }
    fn buffers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (columns, all) = (&self.0, PyDict::new(py));
        set_txids(py, &all, &columns.view, &columns.seqno)?;
        for (name, values) in [("view", &columns.view), ("seqno", &columns.seqno)] {
            all.set_item(name, longs(py, values)?)?;
        }
        for (name, values) in [
            ("table", &columns.table),
            ("key_offsets", &columns.key_offsets),
            ("value_offsets", &columns.value_offsets),
        ] {
            all.set_item(name, ints(py, values)?)?;
        }
        for (name, values) in [
            ("key", columns.keys.as_slice()),
            ("value", columns.values.as_slice()),
            ("value?", columns.written.as_bytes()),
            ("removed", columns.removed.as_bytes()),
        ] {
            all.set_item(name, PyBytes::new(py, values))?;
        }
        Ok(all)
    }
    fn tuples<'py>(
        &self,
        py: Python<'py>,
        start: usize,
        stop: usize,
        tables: Vec<i64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let (columns, rows) = (&self.0, PyList::empty(py));
        for at in start..stop.min(columns.len()) {
            let table = columns.table.get(at).and_then(|index| usize::try_from(*index).ok());
            let row: Bound<'py, PyTuple> = (
                columns.seqno.get(at).copied().unwrap_or(0),
                table.and_then(|index| tables.get(index)).copied(),
                PyBytes::new(py, columns.key(at)),
                columns.value(at).map(|value| PyBytes::new(py, value)),
            )
                .into_pyobject(py)?;
            rows.append(row)?;
        }
        Ok(rows)
    }
    fn csv<'py>(&self, py: Python<'py>, start: usize, stop: usize) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| csv::writes(&self.0, start..stop)))
    }
    fn jsonl<'py>(&self, py: Python<'py>, start: usize, stop: usize) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| jsonl::writes(&self.0, start..stop)))
    }
}

#[pyclass(module = "tallystick._native")]
struct CoverQueue(export::CoverQueue);

fn to_rows(blocks: Vec<TransactionColumns>) -> Vec<TransactionRows> {
    blocks.into_iter().map(TransactionRows).collect()
}

#[pymethods]
impl CoverQueue {
    #[new]
    fn new() -> Self {
        Self(export::CoverQueue::default())
    }
    fn push(&mut self, py: Python<'_>, batch: &ScanBatch) -> Vec<TransactionRows> {
        let Some(rows) = &batch.transaction_rows else { return Vec::new() };
        let records: Vec<_> = batch.signature_records(py);
        let records = records.iter().map(|record| &record.get().record);
        to_rows(self.0.push(rows.get().0.clone(), records))
    }
    fn finish(&mut self) -> Vec<TransactionRows> {
        to_rows(self.0.finish())
    }
}

/// Both tables of a batch, if they were asked for.
pub(crate) type Rows = (Option<Py<TransactionRows>>, Option<Py<WriteRows>>);

pub(crate) fn rows_of(py: Python<'_>, columns: Option<Box<export::Columns>>) -> PyResult<Rows> {
    let Some(columns) = columns else { return Ok((None, None)) };
    let export::Columns { transactions, writes } = *columns;
    Ok((Some(Py::new(py, TransactionRows(transactions))?), Some(Py::new(py, WriteRows(writes))?)))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("CSV_TRANSACTIONS_HEADER", csv::TRANSACTIONS_HEADER)?;
    module.add("CSV_WRITES_HEADER", csv::WRITES_HEADER)?;
    module.add_class::<TransactionRows>()?;
    module.add_class::<WriteRows>()?;
    module.add_class::<CoverQueue>()
}
