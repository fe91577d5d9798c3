//! Binding of `tallystick_core::snapshot`.
use std::io::Read as _;
use std::path::PathBuf;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tallystick_core::hash::sha256;
use tallystick_core::snapshot::{self, MAX_SNAPSHOT_BYTES, MapToWrite, SnapshotFields, SnapshotMap};

use crate::error::{coded, io};
use crate::ledger::crypto_error;
use crate::merkle::digest;
use crate::secrets::SecretArg;

#[pyclass(frozen, module = "tallystick._native")]
struct SnapshotFile(snapshot::SnapshotFile);

impl SnapshotFile {
    fn find(&self, name: &str) -> PyResult<&SnapshotMap> {
        self.0.map(name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))
    }
}

#[pymethods]
impl SnapshotFile {
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let data = py.detach(|| {
            let mut data = Vec::new();
            // One byte more than is parsed, so that a longer file meets the limit and not a cut.
            std::fs::File::open(&path)?.take(MAX_SNAPSHOT_BYTES + 1).read_to_end(&mut data)?;
            Ok(data)
        });
        let data = data.map_err(|error| io(&error, &path.to_string_lossy()))?;
        py.detach(|| snapshot::SnapshotFile::parse(data)).map(Self).map_err(|error| coded(py, &error, None))
    }
    #[staticmethod]
    fn parse(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        py.detach(|| snapshot::SnapshotFile::parse(data.to_vec()))
            .map(Self)
            .map_err(|error| coded(py, &error, None))
    }
    #[getter]
    fn seqno(&self) -> u64 {
        self.0.seqno()
    }
    #[getter]
    fn entry_digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let digest = py.detach(|| sha256(self.0.entry()));
        PyBytes::new(py, &digest)
    }
    #[getter]
    fn hash_at_snapshot<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.hash_at_snapshot())
    }
    #[getter]
    fn view_history(&self) -> Vec<u64> {
        self.0.view_history().to_vec()
    }
    #[getter]
    fn receipt<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.receipt())
    }
    #[getter]
    fn entry_size(&self) -> usize {
        self.0.entry_size()
    }
    #[getter]
    fn private_domain<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.private_domain())
    }
    fn table_names(&self) -> Vec<&str> {
        self.0.maps().iter().map(SnapshotMap::name).collect()
    }
    fn table_version(&self, name: &str) -> PyResult<i64> {
        Ok(self.find(name)?.version())
    }
    fn table<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
        let rows = self.0.rows(self.find(name)?).map_err(|error| coded(py, &error, None))?;
        let table = PyDict::new(py);
        for row in rows.iter().filter(|row| row.version >= 0) {
            table.set_item(PyBytes::new(py, row.key), (row.version, PyBytes::new(py, row.value)))?;
        }
        Ok(table)
    }
}

type PyMap = (i64, Vec<(Vec<u8>, i64, Vec<u8>)>);

fn maps_from_py(tables: &Bound<'_, PyDict>) -> PyResult<Vec<MapToWrite>> {
    tables
        .iter()
        .map(|(name, map)| {
            let (version, rows): (i64, Bound<'_, PyDict>) = map.extract()?;
            let rows: PyResult<Vec<_>> = rows
                .iter()
                .map(|(key, row)| {
                    let (version, value): (i64, Vec<u8>) = row.extract()?;
                    Ok((key.extract()?, version, value))
                })
                .collect();
            let (version, rows): PyMap = (version, rows?);
            Ok((name.extract()?, version, rows))
        })
        .collect()
}

#[pyfunction]
fn encode_snapshot<'py>(
    py: Python<'py>,
    seqno: u64,
    hash_at_snapshot: &[u8],
    view_history: Vec<u64>,
    tables: &Bound<'py, PyDict>,
    private_tables: &Bound<'py, PyDict>,
    ledger_secret: SecretArg<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    let key = ledger_secret.key(py)?;
    let fields = SnapshotFields {
        seqno,
        hash_at_snapshot: digest("hash_at_snapshot", hash_at_snapshot)?,
        view_history,
        public: maps_from_py(tables)?,
        private: maps_from_py(private_tables)?,
    };
    let entry = py.detach(|| snapshot::encode(fields, key.expose())).map_err(|error| crypto_error(&error))?;
    Ok(PyBytes::new(py, &entry))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<SnapshotFile>()?;
    module.add_function(wrap_pyfunction!(encode_snapshot, module)?)
}
