//! Keys, and signature checks one by one or in batches.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tallystick_core::signature::{Batch, Check, Claim, Hash, HeadStart, PublicKey as CoreKey, record_checks};
use tallystick_core::types::to_hex;

use crate::error::coded;
use crate::merkle::digest;
use crate::receipt::{Submitted, check_of};
use crate::scan::SignatureRecord;

#[pyclass(frozen, eq, hash, module = "tallystick._native")]
#[derive(PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub(crate) key: Arc<CoreKey>,
}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.sha256().hash(state);
    }
}

#[pymethods]
impl PublicKey {
    #[staticmethod]
    fn from_spki(py: Python<'_>, der: &[u8]) -> PyResult<Self> {
        let key = CoreKey::from_spki(der).map_err(|error| coded(py, &error, None))?;
        Ok(Self { key: Arc::new(key) })
    }

    #[getter]
    fn spki<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.key.spki())
    }

    #[getter]
    fn sha256(&self) -> String {
        to_hex(self.key.sha256())
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.key.kind().name()
    }

    fn verifies_prehashed(&self, py: Python<'_>, digest: &[u8], der_signature: &[u8]) -> PyResult<bool> {
        let digest = crate::merkle::digest("digest", digest)?;
        Ok(py.detach(|| self.key.verifies_prehashed(&digest, der_signature)))
    }

    fn verifies(
        &self,
        py: Python<'_>,
        message: &[u8],
        der_signature: &[u8],
        hash_name: &str,
    ) -> PyResult<bool> {
        let hash = match hash_name {
            "sha256" => Hash::Sha256,
            "sha384" => Hash::Sha384,
            "sha512" => Hash::Sha512,
            other => {
                let message = format!("hash_name: expected sha256, sha384 or sha512, got {other:?}");
                return Err(PyValueError::new_err(message));
            }
        };
        Ok(py.detach(|| self.key.verifies(message, der_signature, hash)))
    }

    fn verifies_cose(&self, py: Python<'_>, message: &[u8], signature: &[u8], algorithm: i64) -> bool {
        py.detach(|| self.key.verifies_cose(message, signature, algorithm))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.key)
    }
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct SignatureBatch {
    batch: Mutex<Batch>,
}

impl SignatureBatch {
    pub(crate) fn submit(&self, py: Python<'_>, checks: Vec<(u64, Check)>) {
        // Both the lock and a full queue may block, so neither is waited for with the GIL.
        py.detach(|| self.lock().submit(checks));
    }

    pub(crate) fn head_start(&self, py: Python<'_>) -> HeadStart {
        py.detach(|| self.lock().head_start())
    }

    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Prehashed<'py> = (u64, PyRef<'py, PublicKey>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

fn prehashed(key: &PublicKey, root: &[u8], signature: &[u8]) -> PyResult<Check> {
    let claim = Claim::Prehashed(digest("digest", root)?);
    Ok(Check { key: Arc::clone(&key.key), claim, signature: signature.to_vec() })
}

#[pymethods]
impl SignatureBatch {
    #[new]
    #[pyo3(signature = (*, jobs = 0))]
    fn new(jobs: usize) -> Self {
        Self { batch: Mutex::new(Batch::new(jobs)) }
    }

    fn submit_prehashed(
        &self,
        py: Python<'_>,
        tag: u64,
        key: &PublicKey,
        digest: &[u8],
        der_signature: &[u8],
    ) -> PyResult<()> {
        self.submit(py, vec![(tag, prehashed(key, digest, der_signature)?)]);
        Ok(())
    }

    fn submit_prehashed_many(&self, py: Python<'_>, checks: Vec<Prehashed<'_>>) -> PyResult<()> {
        let checks = checks
            .iter()
            .map(|(tag, key, root, signature)| {
                Ok((*tag, prehashed(key, root.as_bytes(), signature.as_bytes())?))
            })
            .collect::<PyResult<_>>()?;
        self.submit(py, checks);
        Ok(())
    }

    fn submit_records(
        &self,
        py: Python<'_>,
        records: Vec<PyRef<'_, SignatureRecord>>,
        node_keys: Vec<Option<PyRef<'_, PublicKey>>>,
        service_keys: Vec<Option<PyRef<'_, PublicKey>>>,
    ) -> PyResult<()> {
        if records.len() != node_keys.len() || records.len() != service_keys.len() {
            let message = format!(
                "expected as many keys as records, got {} records, {} node keys and {} service keys",
                records.len(),
                node_keys.len(),
                service_keys.len()
            );
            return Err(PyValueError::new_err(message));
        }
        let mut checks = Vec::with_capacity(2 * records.len());
        for ((record, node), service) in records.iter().zip(&node_keys).zip(&service_keys) {
            let (node, service) = (node.as_ref().map(|key| &key.key), service.as_ref().map(|key| &key.key));
            let these = record_checks(&record.record, node, service);
            checks.extend(these.map_err(|error| PyValueError::new_err(error.to_string()))?);
        }
        self.submit(py, checks);
        Ok(())
    }

    fn submit_receipts(&self, py: Python<'_>, receipts: Vec<Submitted<'_>>) -> PyResult<()> {
        let checks = receipts.iter().map(check_of).collect::<PyResult<_>>()?;
        self.submit(py, checks);
        Ok(())
    }

    fn submit_cose(
        &self,
        py: Python<'_>,
        tag: u64,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
        algorithm: i64,
    ) {
        let claim = Claim::Cose { message: message.to_vec(), algorithm };
        let check = Check { key: Arc::clone(&key.key), claim, signature: signature.to_vec() };
        self.submit(py, vec![(tag, check)]);
    }

    fn finish(&self, py: Python<'_>) -> Vec<u64> {
        py.detach(|| self.lock().finish())
    }

    #[getter]
    fn checked(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.lock().checked())
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PublicKey>()?;
    module.add_class::<SignatureBatch>()
}
