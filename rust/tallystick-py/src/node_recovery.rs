//! What Python hears and decides while a node takes over a ledger.
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tallystick_node::node::Recovered;
use tallystick_node::recovery::MetSignature;

/// Asks Python whether a signature transaction is genuine:
/// `judge(root, view, seqno, signatures, cose_signatures, service_info)` returns, or raises.
pub(crate) fn ask_judge(judge: &Py<PyAny>, met: &MetSignature<'_>) -> Result<(), String> {
    Python::attach(|py| {
        let bytes = |value: Option<&[u8]>| value.map(|value| PyBytes::new(py, value));
        let arguments = (
            PyBytes::new(py, &met.root),
            met.txid.view,
            met.txid.seqno,
            bytes(met.raw),
            bytes(met.cose),
            bytes(met.service),
        );
        judge.call1(py, arguments).map(|_| ()).map_err(|error| error.value(py).to_string())
    })
}

/// What a recovery found in the ledger that it took over.
#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct NodeRecovery(pub(crate) Recovered);

#[pymethods]
impl NodeRecovery {
    #[getter]
    fn last(&self) -> (u64, u64) {
        (self.0.last.view, self.0.last.seqno)
    }
    #[getter]
    fn last_root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.last_root)
    }
    #[getter]
    fn links<'py>(&self, py: Python<'py>) -> Vec<(u64, Bound<'py, PyBytes>)> {
        self.0.links.iter().map(|(seqno, value)| (*seqno, PyBytes::new(py, value))).collect()
    }
    #[getter]
    fn stopped(&self) -> Option<&str> {
        self.0.stopped.as_deref()
    }
}
