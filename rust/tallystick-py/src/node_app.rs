//! Binding of the application: which requests never reach Python.
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tallystick_node::app::{App, AppFirst, AppLog, Gate, LineLog, LogLevel, Open, Refusal};
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

/// Rules of interfaces, asked of Python once for each endpoint: `gate(interface, route, redirects_to)` gives
/// None or (status, code or None, message).
struct PyGate {
    gate: Py<PyAny>,
    asked: Mutex<HashMap<(String, String, String), Option<Refusal>>>,
}

/// Answers kept: an application has far fewer endpoints on all interfaces together.
const MAX_ASKED: usize = 1 << 14;

impl Gate for PyGate {
    fn refusal(&self, interface: &str, route: &str, redirects_to: &str) -> Option<Refusal> {
        let key = (interface.to_owned(), route.to_owned(), redirects_to.to_owned());
        if let Some(known) = self.asked.lock().get(&key) {
            return known.clone();
        }
        let answer = Python::attach(|py| {
            let answer = self.gate.call1(py, (interface, route, redirects_to))?;
            answer.extract::<Option<(u16, Option<String>, String)>>(py)
        });
        let refusal = match answer {
            Ok(answer) => answer
                .map(|(status, code, message)| Refusal { status, error: code.map(|code| (code, message)) }),
            // Not knowing whether an interface may serve something is a reason not to.
            Err(error) => {
                return Some(Refusal {
                    status: 500,
                    error: Some(("InternalError".into(), error.to_string())),
                });
            }
        };
        let mut asked = self.asked.lock();
        if asked.len() >= MAX_ASKED {
            asked.clear();
        }
        asked.insert(key, refusal.clone());
        refusal
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
    gate: Option<Py<PyAny>>,
    others: Arc<dyn Handler>,
) -> PyResult<Arc<dyn Handler>> {
    let gate: Arc<dyn Gate> = match gate {
        Some(gate) => Arc::new(PyGate { gate, asked: Mutex::default() }),
        None => Arc::new(Open),
    };
    let app = App::new(Arc::clone(node.sequencer()), Arc::clone(node.files()), log(target)?, gate);
    Ok(Arc::new(AppFirst { app, others }))
}
