//! From a request for an endpoint to its answer.
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, StatusCode, header};
use percent_encoding::percent_decode_str;
use tallystick_core::types::TxId;
use tallystick_js::app::{AppReply, AppRequest, Call, Data, Executed, Failure, HistoricalState, LogLevel};

use super::bundle::{Endpoint, FLUSH, Found, Mode, SINGLETON, Snapshot};
use super::host::Host;
use super::reply::{Code, answer as answer_of, error, failed, refused};
use super::{App, Step, auth, find};
use crate::http::{Request, Response};
use crate::kv::{Context, Transaction};
use crate::sequencer::{CommitError, Committing};

/// How often a conflicting transaction is run before the client is told to come back; CCF's number.
const MAX_ATTEMPTS: usize = 30;
/// Seconds after which that client may come back.
const RETRY_AFTER: &str = "3";
/// Transaction ID of an answer, and of the question in historical endpoints.
pub(super) const TXID_HEADER: HeaderName = HeaderName::from_static("x-ms-ccf-transaction-id");

/// How long a request waits for earlier transactions to be committed when too many are not: a disk that is busy for a
/// moment slows writers down, and only one that has stopped turns them away.
const ROOM_PATIENCE: Duration = Duration::from_millis(1000);

/// Answers `request` for `path`; `None` when it is not for an endpoint of the application.
pub(super) fn answer(app: &Arc<App>, request: &Request, path: &str) -> Option<Response> {
    for _ in 0..MAX_ATTEMPTS {
        let transaction = app.sequencer.begin();
        let snapshot = match app.cache.get(transaction.base()) {
            Ok(snapshot) => snapshot,
            Err(message) => {
                return Some(error(StatusCode::INTERNAL_SERVER_ERROR, Code::InternalError, &message));
            }
        };
        let found = match find(&snapshot, request, path) {
            Step::Execute(found) => found,
            Step::Answer(answer) => return Some(if snapshot.open { answer } else { not_open() }),
            Step::Others => return None,
        };
        if !app.sequencer.wait_for_room(ROOM_PATIENCE) {
            let message = "Too many transactions pending commit on the service.";
            return Some(error(StatusCode::SERVICE_UNAVAILABLE, Code::TooManyPendingTransactions, message));
        }
        if !snapshot.open {
            return Some(not_open());
        }
        let endpoint = found.endpoint;
        if let Some(refusal) =
            app.gate.refusal(&request.session.interface, &endpoint.route, &endpoint.redirects_to)
        {
            return Some(refused(refusal));
        }
        if let Some(answer) = attempt(app, request, &snapshot, found, transaction) {
            return Some(answer);
        }
    }
    let message = format!("Transaction continued to conflict after {MAX_ATTEMPTS} attempts. Retry later.");
    let answer = error(StatusCode::SERVICE_UNAVAILABLE, Code::TransactionCommitAttemptsExceedLimit, &message);
    Some(answer.with(header::RETRY_AFTER, RETRY_AFTER))
}

fn not_open() -> Response {
    error(StatusCode::NOT_FOUND, Code::FrontendNotOpen, "Frontend is not open.")
}

/// One attempt; `None` when it conflicted.
fn attempt(
    app: &Arc<App>,
    request: &Request,
    snapshot: &Snapshot,
    found: Found<'_>,
    mut transaction: Transaction,
) -> Option<Response> {
    let endpoint = found.endpoint;
    // An application that is replaced while this runs makes it run again.
    transaction.version_of_previous_write(FLUSH, &SINGLETON);
    let caller = match auth::authenticate(app, endpoint, request, &mut transaction) {
        Ok(caller) => caller,
        Err(refusal) => return Some(*refusal),
    };
    let historical = match endpoint.mode {
        Mode::Historical => match past_state(app, request) {
            Ok(state) => Some(state),
            Err(refusal) => return Some(*refusal),
        },
        _ => None,
    };
    let context =
        if endpoint.mode == Mode::ReadWrite { Context::Application } else { Context::ReadOnlyApplication };
    let host =
        Host { app: Arc::clone(app), transaction, context, apply_writes: None, claims_digest: [0; 32] };
    let request = app_request(request, endpoint, found.params, caller);
    let executed = match run(snapshot, endpoint, host, &request, historical.as_ref(), app) {
        Ok(executed) => executed,
        Err(failure) => return Some(report(app, snapshot, failure)),
    };
    let reply = match executed.outcome {
        Ok(reply) => reply,
        Err(failure) => return Some(report(app, snapshot, failure)),
    };
    // A handler always gives its host back.
    let host = executed.host?;
    finish(app, host, answer_of(reply))
}

/// Logs what failed, if that is wanted, and answers it.
fn report(app: &App, snapshot: &Snapshot, failure: Failure) -> Response {
    if failure == Failure::TimedOut && app.log.wants(LogLevel::Info) {
        let limit = snapshot.options.budget().time.as_millis();
        app.log.line("js", LogLevel::Info, &format!("JS execution has timed out (max is {limit}ms)"));
    }
    if snapshot.options.log_exception_details && app.log.wants(LogLevel::Fail) {
        let text = match &failure {
            Failure::Exception { reason, trace } => {
                format!("{reason}: {}", trace.as_deref().unwrap_or("<no trace>"))
            }
            Failure::BadReply { message, thrown: Some((reason, _)) } => format!("{message} {reason}"),
            Failure::BadReply { message, thrown: None } => (*message).to_owned(),
            Failure::TimedOut => "Operation took too long to complete.".to_owned(),
        };
        app.log.line("app", LogLevel::Fail, &text);
    }
    failed(failure, &snapshot.options)
}

/// Commits what is to be committed, and completes the answer.
fn finish(app: &App, host: Host, answer: Response) -> Option<Response> {
    let apply = host.apply_writes.unwrap_or_else(|| answer.status.is_success());
    if !apply {
        return Some(answer);
    }
    let committing = Committing { claims_digest: host.claims_digest, ..Committing::default() };
    match app.sequencer.commit(&host.transaction, committing) {
        Ok(txid) => Some(answer.with(TXID_HEADER, &txid.to_string())),
        Err(CommitError::Conflict(_)) => None,
        Err(CommitError::Entry(refusal)) => {
            Some(error(StatusCode::INTERNAL_SERVER_ERROR, Code::InternalError, &refusal.to_string()))
        }
        Err(refusal @ (CommitError::Sign(_) | CommitError::Stopped)) => Some(error(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::TransactionReplicationFailed,
            &refusal.to_string(),
        )),
    }
}

/// Calls the handler in the interpreter that the endpoint asks for.
fn run(
    snapshot: &Snapshot,
    endpoint: &Endpoint,
    host: Host,
    request: &AppRequest,
    historical: Option<&Arc<HistoricalState>>,
    app: &App,
) -> Result<Executed<Option<Host>>, Failure> {
    let budget = snapshot.options.budget();
    let call =
        Call { module: &endpoint.module, function: &endpoint.function, request, historical, budget: &budget };
    let start = Instant::now();
    let (bundle, options) = (&snapshot.bundle, &snapshot.options);
    let executed = match &endpoint.reuse {
        None => bundle
            .pools
            .fresh(&bundle.modules, &endpoint.module, &budget, |machine| machine.call(host, &call)),
        Some(key) => {
            let access = if endpoint.mode == Mode::ReadWrite { "rw" } else { "ro" };
            let key = format!("{key} ({access})");
            let limit = options.cached_interpreters();
            bundle.pools.reused(&bundle.modules, &key, limit, &budget, |machine| machine.call(host, &call))
        }
    }?;
    if let (Ok(reply), true, true) = (&executed.outcome, executed.metrics, app.log.wants(LogLevel::Info)) {
        log_execution(app, endpoint, reply, start);
    }
    Ok(executed)
}

fn log_execution(app: &App, endpoint: &Endpoint, reply: &AppReply, start: Instant) {
    let text = format!(
        "JS execution complete: Method={}, Path={}, Status={}, ExecMilliseconds={}",
        endpoint.verb,
        endpoint.route,
        reply.status,
        start.elapsed().as_millis()
    );
    app.log.line("js", LogLevel::Info, &text);
}

/// The transaction that a historical request asks for.
fn past_state(app: &App, request: &Request) -> Result<Arc<HistoricalState>, Box<Response>> {
    let given = request.headers.get(TXID_HEADER).and_then(|value| value.to_str().ok());
    let Some(txid) = given.and_then(TxId::parse) else {
        // CCF notes which of the two it was, and then says this.
        let message = "Could not extract Transaction Id";
        return Err(Box::new(error(StatusCode::NOT_FOUND, Code::TransactionInvalid, message)));
    };
    let status = app.sequencer.status(txid).name();
    let message = format!("Only committed transactions can be queried. Transaction {txid} is {status}");
    match status {
        "Committed" => app.history.state(txid).map_err(|failure| {
            Box::new(error(StatusCode::INTERNAL_SERVER_ERROR, Code::InternalError, &failure))
        }),
        "Invalid" => Err(Box::new(error(StatusCode::NOT_FOUND, Code::TransactionInvalid, &message))),
        _ => {
            let answer = error(StatusCode::NOT_FOUND, Code::TransactionPendingOrUnknown, &message);
            Err(Box::new(answer.with(header::CACHE_CONTROL, "no-cache")))
        }
    }
}

fn app_request(
    request: &Request,
    endpoint: &Endpoint,
    params: Vec<(String, String)>,
    caller: Data,
) -> AppRequest {
    let mut headers: Vec<(String, String)> = Vec::with_capacity(request.headers.len());
    for (name, value) in &request.headers {
        headers.push((name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    }
    let hostname =
        request.headers.get(header::HOST).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let url = match request.query.as_str() {
        "" => request.path.clone(),
        query => format!("{}?{query}", request.path),
    };
    AppRequest {
        headers,
        query: decoded(&request.query).into_owned(),
        path: request.path.clone(),
        method: request.method.as_str().to_owned(),
        hostname,
        route: endpoint.route.clone(),
        url,
        params,
        body: request.body.clone(),
        caller,
    }
}

/// A query, decoded as a whole before anybody splits it, as CCF does.
fn decoded(query: &str) -> Cow<'_, str> {
    if query.contains('+') {
        let spaced = query.replace('+', " ");
        return Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(query).decode_utf8_lossy()
}
