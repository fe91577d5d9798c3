//! `tallystick._native`: the binding of the Rust crates. It converts and releases the GIL; it decides nothing.
use pyo3::prelude::*;

mod cose;
mod error;
mod export;
mod js;
mod ledger;
mod merkle;
mod node;
mod node_app;
mod node_governance;
mod node_http;
mod node_options;
mod node_recovery;
mod node_signer;
mod receipt;
mod scan;
mod secrets;
mod signature;
mod snapshot;
mod x509;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    cose::register(module)?;
    export::register(module)?;
    js::register(module)?;
    ledger::register(module)?;
    merkle::register(module)?;
    node::register(module)?;
    node_governance::register(module)?;
    receipt::register(module)?;
    scan::register(module)?;
    secrets::register(module)?;
    signature::register(module)?;
    snapshot::register(module)?;
    x509::register(module)
}
