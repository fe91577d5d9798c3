//! From keyword arguments of Python to the options of a node's parts.
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tallystick_node::http::Limits;
use tallystick_node::ledger::Options as LedgerOptions;
use tallystick_node::node::Options;
use tallystick_node::sequencer::{Options as SequencerOptions, SignatureMode};

#[allow(clippy::too_many_arguments, reason = "one argument an option")]
pub(crate) fn options_from(
    directory: PathBuf,
    read_only: Vec<PathBuf>,
    view: u64,
    signature_tx_count: u64,
    signature_delay_ms: u64,
    chunk_size: u64,
    max_uncommitted: u64,
    cose_only: bool,
    sync: bool,
) -> Options {
    Options {
        sequencer: SequencerOptions {
            view,
            signature_tx_count: signature_tx_count.max(1),
            chunk_size,
            max_uncommitted,
            mode: if cose_only { SignatureMode::CoseOnly } else { SignatureMode::Dual },
        },
        ledger: LedgerOptions { directory, read_only, sync },
        signature_delay: Duration::from_millis(signature_delay_ms.max(1)),
    }
}

pub(crate) fn limits_from(given: &HashMap<String, u64>) -> PyResult<Limits> {
    let mut limits = Limits::default();
    for (name, value) in given {
        let size = usize::try_from(*value).unwrap_or(usize::MAX);
        let word = u32::try_from(*value).unwrap_or(u32::MAX);
        match name.as_str() {
            "max_body_size" => limits.max_body_size = size,
            "max_header_size" => limits.max_header_size = size,
            "max_headers_count" => limits.max_headers_count = size,
            "max_open_sessions_soft" => limits.max_open_sessions_soft = size,
            "max_open_sessions_hard" => limits.max_open_sessions_hard = size,
            "max_concurrent_streams_count" => limits.max_concurrent_streams = word,
            "initial_window_size" => limits.initial_window_size = word,
            "max_frame_size" => limits.max_frame_size = word,
            "idle_timeout_ms" => limits.idle_timeout = (*value != 0).then(|| Duration::from_millis(*value)),
            _ => return Err(PyValueError::new_err(format!("unknown limit {name}"))),
        }
    }
    Ok(limits)
}
