//! Binding of the application: which requests never reach Python.
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tallystick_node::app::{App, AppFirst, AppLog, LineLog, LogLevel};
use tallystick_node::http::Handler;
use tallystick_node::node::Node;

/// A log that keeps nothing.
struct NoLog;

impl AppLog for NoLog {
    fn line(&self, _tag: &'static str, _level: LogLevel, _text: &str) {}
    fn wants(&self, _level: LogLevel) -> bool {
        false
    }
}

/// Where an application's log lines go: file descriptor, least level in Python's numbers, and whether as JSON.
pub(crate) type LogTarget = (i32, u8, bool);

fn log(target: Option<LogTarget>) -> PyResult<Arc<dyn AppLog>> {
    let Some((descriptor, least, as_json)) = target else { return Ok(Arc::new(NoLog)) };
    let least = match least {
        0..=2 => LogLevel::Info,
        3 => LogLevel::Fail,
        _ => LogLevel::Fatal,
    };
    if descriptor < 0 {
        return Err(PyValueError::new_err(format!("{descriptor} is not a file descriptor")));
    }
    // SAFETY: the caller holds the descriptor open during this call; it is duplicated here.
    let owned = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()?;
    Ok(Arc::new(LineLog::start(File::from(owned), least, as_json)?))
}

/// A handler that tries the application of `node` before `others`.
pub(crate) fn app_first(
    node: &Node,
    target: Option<LogTarget>,
    others: Arc<dyn Handler>,
) -> PyResult<Arc<dyn Handler>> {
    let app = App::new(Arc::clone(node.sequencer()), Arc::clone(node.files()), log(target)?);
    Ok(Arc::new(AppFirst { app, others }))
}
