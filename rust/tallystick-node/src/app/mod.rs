//! The application: endpoints that governance installed, answered without leaving native code.
//!
//! ```text
//! request → back-pressure → service open? → endpoint → who calls → handler in a transaction → commit → answer
//!                                      └ none: the caller's other endpoints
//! ```
//!
//! The order of these steps, the words of errors and what a handler sees are CCF's.

mod auth;
mod bundle;
mod execute;
mod host;
mod jwt;
mod log;
mod past;
mod pool;
mod reply;
mod route;

pub use log::LineLog;
pub use past::History;
pub use tallystick_js::app::{LogLevel, THREAD_STACK_BYTES};

use std::sync::Arc;

use http::{Method, StatusCode, header};

use crate::http::{Handler, Request, Response};
use crate::ledger::LedgerFiles;
use crate::sequencer::Sequencer;
use bundle::{Cache, Found, Snapshot};
use reply::{Code, error};

/// Where log lines of an application go.
pub trait AppLog: Send + Sync + 'static {
    /// One line. `tag` is `app` for what scripts say and `js` for what is said about them.
    fn line(&self, tag: &'static str, level: LogLevel, text: &str);
    /// Whether lines of this level are wanted at all; those that are not are not made.
    fn wants(&self, level: LogLevel) -> bool;
}

/// Why an interface does not serve an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status code.
    pub status: u16,
    /// Error code and message; without them the answer has no body.
    pub error: Option<(String, String)>,
}

/// Rules of interfaces. What it says about an endpoint must not change.
pub trait Gate: Send + Sync + 'static {
    /// Why `interface` does not serve the endpoint with path template `route` and redirection strategy
    /// `redirects_to`; `None` if it does.
    fn refusal(&self, interface: &str, route: &str, redirects_to: &str) -> Option<Refusal>;
}

/// A gate that lets everything through.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Gate for Open {
    fn refusal(&self, _interface: &str, _route: &str, _redirects_to: &str) -> Option<Refusal> {
        None
    }
}

/// The application of one node.
pub struct App {
    sequencer: Arc<Sequencer>,
    history: History,
    cache: Cache,
    certificates: auth::Certificates,
    keys: jwt::Keys,
    log: Arc<dyn AppLog>,
    gate: Arc<dyn Gate>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl App {
    /// The application over a node's data plane.
    #[must_use]
    pub fn new(
        sequencer: Arc<Sequencer>,
        files: Arc<LedgerFiles>,
        log: Arc<dyn AppLog>,
        gate: Arc<dyn Gate>,
    ) -> Arc<Self> {
        Arc::new(Self {
            history: History::new(Arc::clone(&sequencer), files),
            sequencer,
            cache: Cache::default(),
            certificates: auth::Certificates::default(),
            keys: jwt::Keys::default(),
            log,
            gate,
        })
    }

    /// Answers `request` if it is for an endpoint of the application; `None` leaves it to others.
    pub fn answer(self: &Arc<Self>, request: &Request) -> Option<Response> {
        let path = app_path(&request.path)?;
        execute::answer(self, request, path)
    }
}

/// The path as endpoints know it, if it belongs to the application.
///
/// The first segment chooses: `node` and `gov` are others'; `app` is dropped; anything else is the
/// application's as a whole.
fn app_path(path: &str) -> Option<&str> {
    let rest = path.strip_prefix('/')?;
    let (first, after) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    match first {
        "node" | "gov" => None,
        "app" => Some(after),
        _ => Some(path),
    }
}

/// What to do with a request whose path is known.
enum Step<'a> {
    Execute(Found<'a>),
    Answer(Response),
    Others,
}

fn find<'a>(snapshot: &'a Snapshot, request: &'a Request, path: &'a str) -> Step<'a> {
    match snapshot.bundle.find(&request.method, path) {
        Ok(Some(found)) => Step::Execute(found),
        Ok(None) => {
            let verbs = snapshot.bundle.verbs(path);
            if verbs.is_empty() {
                return Step::Others;
            }
            let allow = std::iter::once("OPTIONS").chain(verbs).collect::<Vec<_>>().join(", ");
            let answer = if request.method == Method::OPTIONS {
                Response::new(StatusCode::NO_CONTENT, "")
            } else {
                let message = format!("Allowed methods for '{path}' are: {allow}.");
                error(StatusCode::METHOD_NOT_ALLOWED, Code::UnsupportedHttpVerb, &message)
            };
            Step::Answer(answer.with(header::ALLOW, &allow))
        }
        Err(message) => {
            let mut answer = error(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::InternalError,
                &format!("Exception: {message}"),
            );
            answer.close = true;
            Step::Answer(answer)
        }
    }
}

/// Serves the application first and everything else from `others`.
pub struct AppFirst {
    /// The application.
    pub app: Arc<App>,
    /// Answers what is not the application's.
    pub others: Arc<dyn Handler>,
}

impl Handler for AppFirst {
    fn handle(&self, request: Request) -> Response {
        match self.app.answer(&request) {
            Some(answer) => answer,
            None => self.others.handle(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::app_path;

    #[test]
    fn the_first_segment_chooses() {
        for (path, expected) in [
            ("/app/log/1", Some("/log/1")),
            ("/app", Some("")),
            ("/log/1", Some("/log/1")),
            ("/node/commit", None),
            ("/gov", None),
            ("/nodes/x", Some("/nodes/x")),
            ("*", None),
        ] {
            assert_eq!(app_path(path), expected, "{path}");
        }
    }
}
