//! Answers: errors in CCF's words, and what handlers returned.
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tallystick_js::app::{AppReply, Failure};

use super::Refusal;
use super::bundle::Options;
use crate::http::Response;

/// Error codes that clients compare.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    FrontendNotOpen,
    InternalError,
    InvalidAuthenticationInfo,
    TooManyPendingTransactions,
    TransactionCommitAttemptsExceedLimit,
    TransactionInvalid,
    TransactionPendingOrUnknown,
    TransactionReplicationFailed,
    UnsupportedHttpVerb,
}

impl Code {
    pub(super) fn text(self) -> String {
        format!("{self:?}")
    }
}

/// An error answer.
pub(super) fn error(status: StatusCode, code: Code, message: &str) -> Response {
    error_with(status, code, message, Vec::new())
}

/// An error answer with details.
pub(super) fn error_with(status: StatusCode, code: Code, message: &str, details: Vec<Value>) -> Response {
    let mut error = json!({ "code": code.text(), "message": message });
    if let (Some(error), false) = (error.as_object_mut(), details.is_empty()) {
        error.insert("details".to_owned(), Value::Array(details));
    }
    Response::new(status, json!({ "error": error }).to_string())
        .with(header::CONTENT_TYPE, "application/json")
}

/// An answer of an interface that does not serve the endpoint.
pub(super) fn refused(refusal: Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    match refusal.error {
        None => Response::new(status, ""),
        Some((code, message)) => {
            let body = json!({ "error": { "code": code, "message": message } });
            Response::new(status, body.to_string()).with(header::CONTENT_TYPE, "application/json")
        }
    }
}

/// Headers that only the server itself may set: they say where the answer ends.
fn is_framing(name: &HeaderName) -> bool {
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::TRAILER]
        .contains(name)
}

/// What a handler returned, as an answer.
pub(super) fn answer(reply: AppReply) -> Response {
    let status = u16::try_from(reply.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let Some(status) = status.filter(|status| !status.is_informational()) else {
        let message = "Invalid endpoint function return value (status code type).";
        return error(StatusCode::INTERNAL_SERVER_ERROR, Code::InternalError, message);
    };
    let mut response = Response::new(status, reply.body);
    if let Some(content_type) = reply.content_type {
        response.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in reply.headers {
        let parsed = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(&value));
        let (Ok(name), Ok(value)) = parsed else {
            let message = "Invalid endpoint function return value (header value type).";
            return error(StatusCode::INTERNAL_SERVER_ERROR, Code::InternalError, message);
        };
        if !is_framing(&name) {
            response.headers.insert(name, value);
        }
    }
    response
}

/// An answer to a call that failed.
pub(super) fn failed(failure: Failure, options: &Options) -> Response {
    const THROWN: &str = "Exception thrown while executing.";
    const TIMEOUT: &str = "Operation took too long to complete.";
    let (message, thrown) = match failure {
        Failure::TimedOut => (TIMEOUT, Some(("InternalError: interrupted".to_owned(), None))),
        Failure::Exception { reason, trace } => (THROWN, Some((reason, trace))),
        Failure::BadReply { message, thrown } => (message, thrown),
    };
    let details = match thrown.filter(|_| options.return_exception_details) {
        Some((reason, trace)) => {
            let mut detail = json!({ "code": "JSException", "message": reason });
            if let (Some(detail), Some(trace)) = (detail.as_object_mut(), trace) {
                detail.insert("trace".to_owned(), Value::String(trace));
            }
            vec![detail]
        }
        None => Vec::new(),
    };
    error_with(StatusCode::INTERNAL_SERVER_ERROR, Code::InternalError, message, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: i32, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        answer(AppReply { status, headers, content_type: Some("text/plain"), body: b"x".to_vec() })
    }

    #[test]
    fn a_handler_cannot_forge_where_the_answer_ends() {
        let answer =
            reply(200, &[("Content-Length", "0"), ("Transfer-Encoding", "chunked"), ("content-type", "a/b")]);
        assert_eq!(answer.headers.len(), 1);
        assert_eq!(answer.headers.get("content-type").map(HeaderValue::as_bytes), Some(b"a/b".as_slice()));
        assert_eq!(reply(200, &[("a", "b\r\nc: d")]).status, 500);
        assert_eq!(reply(200, &[("a b", "c")]).status, 500);
    }

    #[test]
    fn a_status_that_is_none_is_an_error() {
        for status in [-1, 0, 99, 100, 101, 1000, i32::MAX] {
            assert_eq!(reply(status, &[]).status, 500, "{status}");
        }
        assert_eq!(reply(418, &[]).status, 418);
    }
}
