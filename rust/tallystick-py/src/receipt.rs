//! Receipts.
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tallystick_core::error::Coded as _;
use tallystick_core::receipt::{
    CoseProof as CoreProof, CoseReceipt as CoreCoseReceipt, JsonReceipt as CoreJsonReceipt, Leaf,
    ReceiptError,
};
use tallystick_core::signature::{Check, Claim};
use tallystick_core::types::{Digest, to_hex};

use crate::cose::CoseSign1;
use crate::error::coded;
use crate::merkle::{digest, path_to_py};
use crate::signature::PublicKey;

fn receipt_error(py: Python<'_>, error: &ReceiptError) -> PyErr {
    coded(py, error, error.offset().map(|offset| offset as u64))
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct FormatErrorValue {
    error: ReceiptError,
}

#[pymethods]
impl FormatErrorValue {
    #[getter]
    fn code(&self) -> &'static str {
        self.error.code()
    }

    #[getter]
    fn message(&self) -> String {
        self.error.to_string()
    }

    #[getter]
    fn offset(&self) -> Option<usize> {
        self.error.offset()
    }

    #[getter]
    fn is_limit(&self) -> bool {
        self.error.is_limit()
    }

    fn __repr__(&self) -> String {
        format!("FormatErrorValue({}: {})", self.error.code(), self.error)
    }
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct JsonReceipt {
    receipt: Arc<CoreJsonReceipt>,
}

#[pymethods]
impl JsonReceipt {
    #[staticmethod]
    fn parse(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let receipt = CoreJsonReceipt::parse(data).map_err(|error| receipt_error(py, &error))?;
        Ok(Self { receipt: Arc::new(receipt) })
    }

    #[staticmethod]
    fn parse_many<'py>(
        py: Python<'py>,
        documents: Vec<Bound<'py, PyBytes>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let borrowed: Vec<&[u8]> = documents.iter().map(|document| document.as_bytes()).collect();
        let parsed = py.detach(|| CoreJsonReceipt::parse_many(&borrowed));
        parsed
            .into_iter()
            .map(|result| {
                Ok(match result {
                    Ok(receipt) => Bound::new(py, Self { receipt: Arc::new(receipt) })?.into_any(),
                    Err(error) => Bound::new(py, FormatErrorValue { error })?.into_any(),
                })
            })
            .collect()
    }

    #[getter]
    fn signature<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.receipt.signature)
    }

    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> Vec<(bool, Bound<'py, PyBytes>)> {
        path_to_py(py, &self.receipt.path)
    }

    #[getter]
    fn leaf<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.receipt.leaf().map(|leaf| PyBytes::new(py, &leaf))
    }

    #[getter]
    fn leaf_given(&self) -> bool {
        matches!(self.receipt.leaf, Leaf::Given(_))
    }

    #[getter]
    fn write_set_digest<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        match &self.receipt.leaf {
            Leaf::Components { write_set_digest, .. } => Some(PyBytes::new(py, write_set_digest)),
            Leaf::Given(_) => None,
        }
    }

    #[getter]
    fn commit_evidence(&self) -> Option<&str> {
        match &self.receipt.leaf {
            Leaf::Components { commit_evidence, .. } => Some(commit_evidence.text()),
            Leaf::Given(_) => None,
        }
    }

    #[getter]
    fn claims_digest<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        match &self.receipt.leaf {
            Leaf::Components { claims_digest, .. } => {
                claims_digest.as_ref().map(|claims| PyBytes::new(py, claims))
            }
            Leaf::Given(_) => None,
        }
    }

    #[getter]
    fn txid(&self) -> Option<String> {
        self.receipt.txid().map(|txid| txid.to_string())
    }

    #[getter]
    fn node_id(&self) -> Option<String> {
        self.receipt.node_id.map(|id| to_hex(&id))
    }

    #[getter]
    fn certificate_pem(&self) -> Option<&str> {
        self.receipt.certificate.as_deref()
    }

    #[getter]
    fn service_endorsements(&self) -> Vec<String> {
        self.receipt.service_endorsements.clone()
    }

    #[getter]
    fn is_signature_transaction(&self) -> Option<bool> {
        self.receipt.is_signature_transaction
    }

    #[getter]
    fn unknown_fields(&self) -> Vec<String> {
        self.receipt.unknown_fields.clone()
    }

    fn leaf_with_claims<'py>(&self, py: Python<'py>, claims_digest: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.leaf_with(Some(&digest("claims_digest", claims_digest)?))?))
    }

    fn leaf_without_claims<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.leaf_with(None)?))
    }

    fn root<'py>(&self, py: Python<'py>, leaf: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.receipt.root(&digest("leaf", leaf)?)))
    }

    fn shape_fits(&self, leaf_index: u64) -> bool {
        self.receipt.tree_sizes(leaf_index).is_some()
    }

    fn tree_sizes(&self, leaf_index: u64) -> Option<(u64, u64)> {
        self.receipt.tree_sizes(leaf_index).map(|sizes| sizes.into_inner())
    }
}

impl JsonReceipt {
    fn leaf_with(&self, claims: Option<&Digest>) -> PyResult<Digest> {
        self.receipt
            .leaf_with(claims)
            .ok_or_else(|| PyValueError::new_err("this receipt gives its leaf, not the components of one"))
    }
}

pub(crate) type Submitted<'py> =
    (u64, PyRef<'py, JsonReceipt>, PyRef<'py, PublicKey>, Option<Bound<'py, PyBytes>>);

/// The check of a receipt's signature, over the root that its path leads to.
pub(crate) fn check_of((tag, receipt, key, leaf): &Submitted<'_>) -> PyResult<(u64, Check)> {
    let leaf = match leaf {
        Some(leaf) => digest("leaf", leaf.as_bytes())?,
        None => receipt.receipt.leaf().ok_or_else(|| {
            PyValueError::new_err(format!(
                "receipt {tag}: its claims digest is missing, so its leaf is needed"
            ))
        })?,
    };
    let claim = Claim::Prehashed(receipt.receipt.root(&leaf));
    Ok((*tag, Check { key: Arc::clone(&key.key), claim, signature: receipt.receipt.signature.clone() }))
}

#[pyclass(frozen, skip_from_py_object, module = "tallystick._native")]
#[derive(Clone)]
pub(crate) struct CoseProof {
    proof: Arc<CoreProof>,
}

#[pymethods]
impl CoseProof {
    #[staticmethod]
    fn parse(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let proof = CoreProof::parse(data).map_err(|error| receipt_error(py, &error))?;
        Ok(Self { proof: Arc::new(proof) })
    }

    #[getter]
    fn write_set_digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.proof.write_set_digest)
    }

    #[getter]
    fn commit_evidence(&self) -> &str {
        self.proof.commit_evidence.text()
    }

    #[getter]
    fn claims_digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.proof.claims_digest)
    }

    #[getter]
    fn txid(&self) -> String {
        self.proof.commit_evidence.txid().to_string()
    }

    #[getter]
    fn leaf<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.proof.leaf)
    }

    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> Vec<(bool, Bound<'py, PyBytes>)> {
        path_to_py(py, &self.proof.path)
    }

    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.proof.root)
    }
}

#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct CoseReceipt {
    data: Py<PyBytes>,
    kid: Option<Vec<u8>>,
    #[pyo3(get)]
    issuer: Option<String>,
    #[pyo3(get)]
    subject: Option<String>,
    #[pyo3(get)]
    issued_at: Option<i64>,
    #[pyo3(get)]
    signature_txid: Option<String>,
    #[pyo3(get)]
    proofs: Vec<CoseProof>,
}

#[pymethods]
impl CoseReceipt {
    #[staticmethod]
    fn parse(data: &Bound<'_, PyBytes>) -> PyResult<Self> {
        let receipt =
            CoreCoseReceipt::parse(data.as_bytes()).map_err(|error| receipt_error(data.py(), &error))?;
        let headers = receipt.headers;
        Ok(Self {
            data: data.clone().unbind(),
            kid: headers.kid.map(<[u8]>::to_vec),
            issuer: headers.issuer.map(str::to_owned),
            subject: headers.subject.map(str::to_owned),
            issued_at: headers.issued_at,
            signature_txid: headers.txid.map(|txid| txid.to_string()),
            proofs: receipt.proofs.into_iter().map(|proof| CoseProof { proof: Arc::new(proof) }).collect(),
        })
    }

    #[getter]
    fn sign1(&self, py: Python<'_>) -> CoseSign1 {
        CoseSign1::of_parsed(self.data.clone_ref(py))
    }

    #[getter]
    fn kid<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.kid.as_deref().map(|kid| PyBytes::new(py, kid))
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<FormatErrorValue>()?;
    module.add_class::<JsonReceipt>()?;
    module.add_class::<CoseProof>()?;
    module.add_class::<CoseReceipt>()
}
