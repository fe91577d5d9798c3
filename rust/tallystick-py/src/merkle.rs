//! Merkle tree and paths.
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tallystick_core::merkle::{MerkleError, PathStep, Tree, directions, fold_path};
use tallystick_core::types::Digest;

use crate::error::coded;

/// The argument `name` as a digest; a wrong length is the caller's mistake, so it is a `ValueError`.
pub(crate) fn digest(name: &str, bytes: &[u8]) -> PyResult<Digest> {
    Digest::try_from(bytes)
        .map_err(|_| PyValueError::new_err(format!("{name}: expected 32 bytes, got {}", bytes.len())))
}

pub(crate) fn path_to_py<'py>(py: Python<'py>, path: &[PathStep]) -> Vec<(bool, Bound<'py, PyBytes>)> {
    path.iter().map(|(left, hash)| (*left, PyBytes::new(py, hash))).collect()
}

pub(crate) fn path_from_py(path: &[(bool, Vec<u8>)]) -> PyResult<Vec<PathStep>> {
    path.iter().map(|(left, hash)| Ok((*left, digest("path", hash)?))).collect()
}

fn question(error: &MerkleError) -> PyErr {
    PyIndexError::new_err(error.to_string())
}

#[pyclass(module = "tallystick._native")]
pub(crate) struct MerkleTree {
    pub(crate) tree: Tree,
}

#[pymethods]
impl MerkleTree {
    #[new]
    fn new() -> Self {
        Self { tree: Tree::new() }
    }

    #[staticmethod]
    fn from_compact(py: Python<'_>, value: &[u8]) -> PyResult<Self> {
        py.detach(|| Tree::from_compact(value))
            .map(|tree| Self { tree })
            .map_err(|error| coded(py, &error, None))
    }

    fn append(&mut self, leaf: &[u8]) -> PyResult<()> {
        self.tree.append(digest("leaf", leaf)?);
        Ok(())
    }

    fn append_many(&mut self, py: Python<'_>, leaves: &[u8]) -> PyResult<()> {
        let (leaves, rest) = leaves.as_chunks::<32>();
        if !rest.is_empty() {
            let actual = leaves.len() * 32 + rest.len();
            return Err(PyValueError::new_err(MerkleError::LeafBytes { actual }.to_string()));
        }
        py.detach(|| self.tree.append_many(leaves));
        Ok(())
    }

    #[getter]
    fn size(&self) -> u64 {
        self.tree.size()
    }

    #[getter]
    fn first_kept(&self) -> u64 {
        self.tree.first_kept()
    }

    fn leaf<'py>(&self, py: Python<'py>, index: u64) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.tree.leaf(index).map_err(|error| question(&error))?))
    }

    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.tree.root())
    }

    fn root_at<'py>(&self, py: Python<'py>, size: u64) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.tree.root_at(size).map_err(|error| question(&error))?))
    }

    fn path<'py>(
        &self,
        py: Python<'py>,
        index: u64,
        size: u64,
    ) -> PyResult<Vec<(bool, Bound<'py, PyBytes>)>> {
        Ok(path_to_py(py, &self.tree.path(index, size).map_err(|error| question(&error))?))
    }

    fn flush(&mut self, first_kept: u64) -> PyResult<()> {
        self.tree.flush(first_kept).map_err(|error| question(&error))
    }

    fn to_compact<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.tree.to_compact())
    }
}

#[pyfunction]
fn merkle_root_of_path<'py>(
    py: Python<'py>,
    leaf: &[u8],
    path: Vec<(bool, Vec<u8>)>,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &fold_path(&digest("leaf", leaf)?, &path_from_py(&path)?)))
}

#[pyfunction]
fn merkle_path_directions(index: u64, size: u64) -> PyResult<Vec<bool>> {
    directions(index, size)
        .ok_or_else(|| question(&MerkleError::IndexOutOfRange { first: 0, end: size, index }))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<MerkleTree>()?;
    module.add_function(wrap_pyfunction!(merkle_root_of_path, module)?)?;
    module.add_function(wrap_pyfunction!(merkle_path_directions, module)?)
}
