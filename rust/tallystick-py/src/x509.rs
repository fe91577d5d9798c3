//! Binding of `tallystick_core::x509`.
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tallystick_core::types::to_hex;
use tallystick_core::x509;

use crate::error::coded;

#[pyclass(frozen, module = "tallystick._native")]
struct Certificate(x509::Certificate);

#[pymethods]
impl Certificate {
    #[staticmethod]
    fn parse(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        x509::Certificate::parse(data).map(Self).map_err(|error| coded(py, &error, None))
    }
    #[staticmethod]
    fn parse_many(py: Python<'_>, data: &[u8]) -> PyResult<Vec<Self>> {
        let parsed = x509::Certificate::parse_many(data).map_err(|error| coded(py, &error, None))?;
        Ok(parsed.into_iter().map(Self).collect())
    }
    #[getter]
    fn der<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.der())
    }
    #[getter]
    fn tbs<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.tbs())
    }
    #[getter]
    fn spki<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.spki())
    }
    #[getter]
    fn signature<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.signature())
    }
    fn extension<'py>(&self, py: Python<'py>, oid: &str) -> Option<Bound<'py, PyBytes>> {
        self.0.extension(oid).map(|value| PyBytes::new(py, value))
    }
    #[getter]
    fn signature_algorithm(&self) -> &str {
        self.0.signature_algorithm()
    }
    #[getter]
    fn ecdsa_hash(&self) -> Option<&'static str> {
        self.0.ecdsa_hash()
    }
    #[getter]
    fn subject<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.subject())
    }
    #[getter]
    fn issuer<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.issuer())
    }
    #[getter]
    fn subject_text(&self) -> &str {
        self.0.subject_text()
    }
    #[getter]
    fn issuer_text(&self) -> &str {
        self.0.issuer_text()
    }
    #[getter]
    fn serial(&self) -> &str {
        self.0.serial()
    }
    #[getter]
    fn not_before(&self) -> i64 {
        self.0.not_before()
    }
    #[getter]
    fn not_after(&self) -> i64 {
        self.0.not_after()
    }
    #[getter]
    fn is_ca(&self) -> bool {
        self.0.is_ca()
    }
    #[getter]
    fn sha256(&self) -> String {
        to_hex(&self.0.sha256())
    }
    #[getter]
    fn spki_sha256(&self) -> String {
        to_hex(&self.0.spki_sha256())
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Certificate>()
}
