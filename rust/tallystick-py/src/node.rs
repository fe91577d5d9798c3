//! Binding of the node's data plane. Python holds keys and decides the life of the service; this hands it
//! transactions, tells it of commits, and asks it to answer requests.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tallystick_core::types::{Digest, TxId};
use tallystick_node::entry::LedgerSecret;
use tallystick_node::http::{Identity, Interface, Protocol, Server, TlsIdentity};
use tallystick_node::kv;
use tallystick_node::ledger::LedgerError;
use tallystick_node::node::{Node as CoreNode, StopError};
use tallystick_node::recovery::MetSignature;
use tallystick_node::sequencer::{CommitError, Committing, LedgerSecrets, Observer, Sequencer, Snapshot};

use crate::node_app::{LogTarget, app_first};
use crate::node_http::{NodeRequest, PyHandler};
use crate::node_options::{limits_from, options_from};
use crate::node_recovery::{NodeRecovery, ask_judge};
use crate::node_signer::RootSigner;
use crate::secrets::SecretArg;

create_exception!(
    _native,
    ConflictError,
    PyException,
    "A transaction conflicts with one that committed first: run it again."
);

/// Name, address, protocol, identity (None: plain TCP) and limits by name.
type InterfaceArg = (String, String, String, Option<String>, HashMap<String, u64>);

fn runtime_error(error: &dyn std::error::Error) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

fn secret_from(given: &SecretArg<'_>) -> PyResult<LedgerSecret> {
    LedgerSecret::new(given.as_slice()).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Tells Python of commits: `observer(view, seqno, None)`, and of delays: `observer(0, 0, message)`.
struct PyObserver(Py<PyAny>);

impl PyObserver {
    fn tell(&self, txid: TxId, trouble: Option<String>) {
        Python::attach(|py| {
            if let Err(error) = self.0.call1(py, (txid.view, txid.seqno, trouble)) {
                error.print(py);
            }
        });
    }
}

impl Observer for PyObserver {
    fn committed(&self, txid: TxId) {
        self.tell(txid, None);
    }
    fn delayed(&self, error: &LedgerError) {
        self.tell(TxId { view: 0, seqno: 0 }, Some(error.to_string()));
    }
}

/// An open transaction. Reads see one snapshot and the transaction's own writes.
#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct NodeTransaction {
    inner: Mutex<kv::Transaction>,
    root: Option<Digest>,
}

impl NodeTransaction {
    /// The transaction itself, for as long as the guard lives. Take no GIL meanwhile.
    pub(crate) fn locked(&self) -> MutexGuard<'_, kv::Transaction> {
        self.inner.lock()
    }
}

#[pymethods]
impl NodeTransaction {
    fn get<'py>(&self, py: Python<'py>, map: &str, key: &[u8]) -> Option<Bound<'py, PyBytes>> {
        self.inner.lock().get(map, key).map(|value| PyBytes::new(py, &value))
    }
    fn set(&self, map: &str, key: &[u8], value: &[u8]) -> PyResult<()> {
        kv::namespace(map).map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.inner.lock().set(map, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        Ok(())
    }
    fn remove(&self, map: &str, key: &[u8]) -> PyResult<()> {
        kv::namespace(map).map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.inner.lock().remove(map, Bytes::copy_from_slice(key));
        Ok(())
    }
    fn clear(&self, map: &str) {
        self.inner.lock().clear(map);
    }
    fn entries<'py>(&self, py: Python<'py>, map: &str) -> Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let entries = self.inner.lock().entries(map);
        entries.iter().map(|(key, value)| (PyBytes::new(py, key), PyBytes::new(py, value))).collect()
    }
    fn size(&self, map: &str) -> usize {
        self.inner.lock().len(map)
    }
    fn version_of_previous_write(&self, map: &str, key: &[u8]) -> Option<u64> {
        self.inner.lock().version_of_previous_write(map, key)
    }
    fn writes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tables = PyDict::new(py);
        for (name, changes) in self.inner.lock().writes() {
            let table = PyDict::new(py);
            for (key, change) in changes {
                table
                    .set_item(PyBytes::new(py, key), change.as_ref().map(|value| PyBytes::new(py, value)))?;
            }
            tables.set_item(name.as_ref(), table)?;
        }
        Ok(tables)
    }
    #[getter]
    fn read_only(&self) -> bool {
        self.inner.lock().is_read_only()
    }
    #[getter]
    fn untouched(&self) -> bool {
        self.inner.lock().is_untouched()
    }
    /// Merkle root over everything up to the snapshot, when it was asked for.
    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.root.as_ref().map(|root| PyBytes::new(py, root))
    }
}

/// The state after a committed signature transaction, ready to be written.
#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct NodeSnapshot {
    snapshot: Snapshot,
}

#[pymethods]
impl NodeSnapshot {
    #[getter]
    fn seqno(&self) -> u64 {
        self.snapshot.seqno()
    }

    /// The snapshot as CCF writes it, without a receipt.
    fn encode<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let encoded = py.detach(|| self.snapshot.encode()).map_err(|error| runtime_error(&error))?;
        Ok(PyBytes::new(py, &encoded))
    }
}

/// The data plane of one node.
#[pyclass(frozen, module = "tallystick._native")]
pub(crate) struct NodeRuntime {
    node: Arc<CoreNode>,
    server: Mutex<Option<Server>>,
    identities: Mutex<HashMap<String, Arc<TlsIdentity>>>,
}

impl NodeRuntime {
    /// Asks the sequencer without holding the GIL: it may have to wait for its lock, under which roots are signed.
    fn sequencer<R: Send>(&self, py: Python<'_>, ask: impl FnOnce(&Sequencer) -> R + Send) -> R {
        py.detach(|| ask(self.node.sequencer()))
    }

    /// Ends every thread. They may have to call Python first: hold no GIL.
    fn end(&self) -> Result<(), StopError> {
        if let Some(mut server) = self.server.lock().take() {
            server.stop();
        }
        self.node.stop()
    }
}

impl Drop for NodeRuntime {
    fn drop(&mut self) {
        Python::attach(|py| {
            let finalizing = py.import("sys").and_then(|sys| sys.call_method0("is_finalizing")?.extract());
            if finalizing.unwrap_or(true) {
                // Threads that call Python now never come back, so that nobody may wait for them.
                std::mem::forget(self.server.lock().take());
                std::mem::forget(Arc::clone(&self.node));
            } else {
                // What could not be signed or written was told to the observer, or nobody listens any more.
                let _ = py.detach(|| self.end());
            }
        });
    }
}

#[pymethods]
impl NodeRuntime {
    #[new]
    #[pyo3(signature = (ledger_directory, ledger_secret, signer, observer, *, read_only_directories=Vec::new(), view=2, signature_tx_count=5000, signature_delay_ms=1000, chunk_size=5_000_000, max_uncommitted=10_000, cose_only=false, sync=true))]
    #[allow(clippy::too_many_arguments, reason = "one keyword argument an option")]
    fn new(
        ledger_directory: PathBuf,
        ledger_secret: SecretArg<'_>,
        signer: &RootSigner,
        observer: Py<PyAny>,
        read_only_directories: Vec<PathBuf>,
        view: u64,
        signature_tx_count: u64,
        signature_delay_ms: u64,
        chunk_size: u64,
        max_uncommitted: u64,
        cose_only: bool,
        sync: bool,
    ) -> PyResult<Self> {
        let options = options_from(
            ledger_directory,
            read_only_directories,
            view,
            signature_tx_count,
            signature_delay_ms,
            chunk_size,
            max_uncommitted,
            cose_only,
            sync,
        );
        let secret = secret_from(&ledger_secret)?;
        let node = CoreNode::start(options, secret, Arc::clone(&signer.0) as _, PyObserver(observer))
            .map_err(|error| runtime_error(&error))?;
        Ok(Self { node: Arc::new(node), server: Mutex::new(None), identities: Mutex::default() })
    }

    /// Takes over the ledger in `ledger_directory`: (runtime, recovered).
    #[staticmethod]
    #[pyo3(signature = (ledger_directory, ledger_secret, signer, observer, judge, accept, *, read_only_directories=Vec::new(), signature_tx_count=5000, signature_delay_ms=1000, chunk_size=5_000_000, max_uncommitted=10_000, cose_only=false, sync=true))]
    #[allow(clippy::too_many_arguments, reason = "one keyword argument an option")]
    fn recover(
        py: Python<'_>,
        ledger_directory: PathBuf,
        ledger_secret: SecretArg<'_>,
        signer: &RootSigner,
        observer: Py<PyAny>,
        judge: Py<PyAny>,
        accept: Py<PyAny>,
        read_only_directories: Vec<PathBuf>,
        signature_tx_count: u64,
        signature_delay_ms: u64,
        chunk_size: u64,
        max_uncommitted: u64,
        cose_only: bool,
        sync: bool,
    ) -> PyResult<(Self, NodeRecovery)> {
        let options = options_from(
            ledger_directory,
            read_only_directories,
            0,
            signature_tx_count,
            signature_delay_ms,
            chunk_size,
            max_uncommitted,
            cose_only,
            sync,
        );
        let secret = secret_from(&ledger_secret)?;
        let (signer, observer) = (Arc::clone(&signer.0), PyObserver(observer));
        let (node, recovered) = py
            .detach(|| {
                let judge = &mut |met: &MetSignature<'_>| ask_judge(&judge, met);
                let accept = |last: TxId| {
                    Python::attach(|py| accept.call1(py, (last.view, last.seqno)).map(|_| ()))
                        .map_err(|error: PyErr| Python::attach(|py| error.value(py).to_string()))
                };
                CoreNode::recover(options, secret, signer, observer, judge, accept)
            })
            .map_err(|error| runtime_error(&error))?;
        let runtime = Self { node: Arc::new(node), server: Mutex::new(None), identities: Mutex::default() };
        Ok((runtime, NodeRecovery(recovered)))
    }

    /// Reads the private part of the ledger that was taken over, under secrets by the seqno each is valid from.
    fn recover_private(&self, py: Python<'_>, secrets: Vec<(u64, SecretArg<'_>)>) -> PyResult<()> {
        let mut known = LedgerSecrets::default();
        for (start, secret) in secrets {
            known.insert(start, secret_from(&secret)?);
        }
        py.detach(|| self.node.recover_private(&known)).map_err(|error| runtime_error(&error))
    }

    /// Chunks written since a recovery began lose the mark of it.
    fn finish_recovery(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.node.files().finish_recovery()).map_err(|error| runtime_error(&error))
    }

    fn begin(&self, py: Python<'_>) -> NodeTransaction {
        let transaction = self.sequencer(py, Sequencer::begin);
        NodeTransaction { inner: Mutex::new(transaction), root: None }
    }

    fn begin_with_root(&self, py: Python<'_>) -> NodeTransaction {
        let (transaction, root) = self.sequencer(py, Sequencer::begin_with_root);
        NodeTransaction { inner: Mutex::new(transaction), root: Some(root) }
    }

    #[pyo3(signature = (transaction, *, claims_digest=None, close_chunk=false, close_before=false, install_secret=None))]
    fn commit(
        &self,
        py: Python<'_>,
        transaction: &NodeTransaction,
        claims_digest: Option<[u8; 32]>,
        close_chunk: bool,
        close_before: bool,
        install_secret: Option<SecretArg<'_>>,
    ) -> PyResult<(u64, u64)> {
        let install_secret = install_secret.as_ref().map(secret_from).transpose()?;
        let committing = Committing {
            claims_digest: claims_digest.unwrap_or_default(),
            close_chunk,
            close_before,
            install_secret,
        };
        let committed = self.sequencer(py, |sequencer| sequencer.commit(&transaction.locked(), committing));
        match committed {
            Ok(txid) => Ok((txid.view, txid.seqno)),
            Err(CommitError::Conflict(conflict)) => Err(ConflictError::new_err(conflict.to_string())),
            Err(error) => Err(runtime_error(&error)),
        }
    }

    fn sign_pending(&self, py: Python<'_>) -> PyResult<Option<(u64, u64)>> {
        let signed = self.sequencer(py, Sequencer::sign_pending).map_err(|error| runtime_error(&error))?;
        Ok(signed.map(|txid| (txid.view, txid.seqno)))
    }

    /// Takes a snapshot every `interval` transactions; 0: only when asked.
    fn schedule_snapshots(&self, py: Python<'_>, interval: u64) {
        self.sequencer(py, |sequencer| sequencer.schedule_snapshots(interval));
    }

    /// Takes a snapshot at the next signature transaction.
    fn force_snapshot(&self, py: Python<'_>) {
        self.sequencer(py, Sequencer::force_snapshot);
    }

    /// The oldest snapshot that is committed and not taken yet.
    fn take_snapshot(&self, py: Python<'_>) -> Option<NodeSnapshot> {
        self.sequencer(py, Sequencer::take_snapshot).map(|snapshot| NodeSnapshot { snapshot })
    }

    fn wait_committed(&self, py: Python<'_>, seqno: u64, timeout_ms: u64) -> bool {
        py.detach(|| self.node.sequencer().wait_committed(seqno, Duration::from_millis(timeout_ms)))
    }

    fn status(&self, py: Python<'_>, view: u64, seqno: u64) -> &'static str {
        self.sequencer(py, |sequencer| sequencer.status(TxId { view, seqno })).name()
    }

    fn view_at(&self, py: Python<'_>, seqno: u64) -> Option<u64> {
        self.sequencer(py, |sequencer| sequencer.view_at(seqno))
    }

    fn view_history(&self, py: Python<'_>) -> Vec<u64> {
        self.sequencer(py, Sequencer::view_history)
    }

    #[getter]
    fn committed(&self, py: Python<'_>) -> (u64, u64) {
        let txid = self.sequencer(py, Sequencer::committed);
        (txid.view, txid.seqno)
    }

    #[getter]
    fn last_seqno(&self, py: Python<'_>) -> u64 {
        self.sequencer(py, Sequencer::last)
    }

    #[getter]
    fn last_signature(&self, py: Python<'_>) -> Option<u64> {
        self.sequencer(py, Sequencer::last_signature)
    }

    #[getter]
    fn saturated(&self, py: Python<'_>) -> bool {
        self.sequencer(py, Sequencer::is_saturated)
    }

    /// The newest ledger secret and the seqno from which it is valid.
    fn latest_secret<'py>(&self, py: Python<'py>) -> Option<(u64, Bound<'py, PyBytes>)> {
        let secrets = self.sequencer(py, Sequencer::secrets);
        secrets.latest().map(|(start, secret)| (start, PyBytes::new(py, secret.raw())))
    }

    fn secret_at<'py>(&self, py: Python<'py>, seqno: u64) -> Option<Bound<'py, PyBytes>> {
        self.sequencer(py, Sequencer::secrets).at(seqno).map(|secret| PyBytes::new(py, secret.raw()))
    }

    /// (entry, covering signature entry, its seqno, commit evidence) of a committed transaction, or None.
    #[allow(clippy::type_complexity, reason = "a tuple that Python unpacks at once")]
    fn evidence<'py>(
        &self,
        py: Python<'py>,
        view: u64,
        seqno: u64,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, u64, String)>> {
        let found =
            py.detach(|| self.node.evidence(TxId { view, seqno })).map_err(|error| runtime_error(&error))?;
        Ok(found.map(|found| {
            (
                PyBytes::new(py, &found.entry),
                PyBytes::new(py, &found.signature),
                found.signature_seqno,
                found.commit_evidence,
            )
        }))
    }

    fn read_entry<'py>(&self, py: Python<'py>, seqno: u64) -> PyResult<Bound<'py, PyBytes>> {
        let entry = py.detach(|| self.node.files().read(seqno)).map_err(|error| runtime_error(&error))?;
        Ok(PyBytes::new(py, &entry))
    }

    fn committed_chunks(&self, py: Python<'_>) -> Vec<(u64, u64, PathBuf)> {
        py.detach(|| self.node.files().committed())
    }

    /// Presents another certificate on the interfaces that share `identity`, from the next handshake on.
    fn set_identity(
        &self,
        identity: String,
        certificate_pem: String,
        private_key_pem: String,
    ) -> PyResult<()> {
        let slot = Arc::clone(self.identities.lock().entry(identity).or_default());
        slot.set(&Identity { certificate_pem, private_key_pem }).map_err(|error| runtime_error(&error))
    }

    /// Opens interfaces: (name, address, protocol, identity or None, limits). Returns name and bound address.
    ///
    /// Endpoints of the application are answered without Python; `handler` answers everything else. `app_log`:
    /// (file descriptor, least level, as JSON) for what the application logs. `app_gate(interface, route,
    /// redirects_to)` says why an interface does not serve an endpoint.
    #[pyo3(signature = (interfaces, handler, workers, *, app_log=None, app_gate=None))]
    #[allow(clippy::type_complexity, reason = "a tuple that Python packs")]
    fn serve(
        &self,
        py: Python<'_>,
        interfaces: Vec<InterfaceArg>,
        handler: Py<PyAny>,
        workers: usize,
        app_log: Option<LogTarget>,
        app_gate: Option<Py<PyAny>>,
    ) -> PyResult<Vec<(String, String)>> {
        let mut opened = Vec::with_capacity(interfaces.len());
        for (name, address, protocol, identity, limits) in interfaces {
            let address: SocketAddr =
                address.parse().map_err(|_| PyValueError::new_err(format!("{address} is not an address")))?;
            let identity =
                identity.map(|identity| Arc::clone(self.identities.lock().entry(identity).or_default()));
            let protocol = if protocol == "HTTP2" { Protocol::Http2 } else { Protocol::Http1 };
            opened.push(Interface {
                name: name.into(),
                address,
                protocol,
                identity,
                limits: limits_from(&limits)?,
            });
        }
        let handler = app_first(&self.node, app_log, app_gate, Arc::new(PyHandler(handler)))?;
        let server =
            py.detach(|| Server::start(opened, workers, handler)).map_err(|error| runtime_error(&error))?;
        let bound = server
            .interfaces()
            .iter()
            .map(|bound| (bound.name.to_string(), bound.address.to_string()))
            .collect();
        *self.server.lock() = Some(server);
        Ok(bound)
    }

    /// Per interface: active, peak, parsing errors, bodies too large, headers too large.
    fn session_counters(&self) -> Vec<(String, usize, usize, u64, u64, u64)> {
        let server = self.server.lock();
        let interfaces = server.iter().flat_map(|server| server.interfaces());
        interfaces
            .map(|bound| {
                let seen = &bound.counters;
                (
                    bound.name.to_string(),
                    seen.active.load(Ordering::Relaxed),
                    seen.peak.load(Ordering::Relaxed),
                    seen.parsing.load(Ordering::Relaxed),
                    seen.payload_too_large.load(Ordering::Relaxed),
                    seen.header_too_large.load(Ordering::Relaxed),
                )
            })
            .collect()
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.end()).map_err(|error| runtime_error(&error))
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("ConflictError", module.py().get_type::<ConflictError>())?;
    module.add_class::<NodeTransaction>()?;
    module.add_class::<NodeRequest>()?;
    module.add_class::<NodeRecovery>()?;
    module.add_class::<NodeSnapshot>()?;
    module.add_class::<RootSigner>()?;
    module.add_class::<NodeRuntime>()
}
