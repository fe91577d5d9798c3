//! Binding of what signs a node's roots. Signing never enters Python.
use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tallystick_core::types::{Digest, TxId};
use tallystick_node::sequencer::{KeySigner, RootSigner as _};

/// Keys of a node and of its service, which sign roots.
#[pyclass(frozen, name = "RootSigner", module = "tallystick._native")]
pub(crate) struct RootSigner(pub(crate) Arc<KeySigner>);

/// Node's signature in DER, service's COSE_Sign1, node ID, node certificate in PEM.
type Signed<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, String, String);

#[pymethods]
impl RootSigner {
    #[new]
    #[pyo3(signature = (service_key, *, node_key, node_id, certificate))]
    fn new(
        service_key: &[u8],
        node_key: Option<&[u8]>,
        node_id: String,
        certificate: String,
    ) -> PyResult<Self> {
        KeySigner::new(node_key, node_id, certificate, service_key)
            .map(|signer| Self(Arc::new(signer)))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn use_certificate(&self, certificate: String) {
        self.0.use_certificate(certificate);
    }

    fn use_claims(&self, issuer: String, subject: String) {
        self.0.use_claims(issuer, subject);
    }

    fn sign<'py>(&self, py: Python<'py>, root: Digest, view: u64, seqno: u64) -> PyResult<Signed<'py>> {
        let signed = py
            .detach(|| self.0.sign(&root, TxId { view, seqno }))
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        let (raw, cose) = (PyBytes::new(py, &signed.raw), PyBytes::new(py, &signed.cose));
        Ok((raw, cose, signed.node_id, signed.node_certificate))
    }

    #[expect(clippy::unused_self, reason = "nothing of it is shown")]
    fn __repr__(&self) -> &'static str {
        "RootSigner(…)"
    }
}
