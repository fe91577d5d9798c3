//! The HTTP front: TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2, several interfaces with limits of their own.
//!
//! It knows connections, requests and limits. What a request means is the [`Handler`]'s business. A client
//! certificate is asked for and never judged here: whoever holds its key is named to the handler.

mod coalesce;
mod error;
mod lookout;
mod refusals;
mod server;
mod tls;

pub use error::odata;
pub use server::{BoundInterface, Counters, Interface, Limits, Protocol, Server, ServerError};
pub use tls::{Identity, TlsError, TlsIdentity};

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

/// What is known of the connection that a request came on.
#[derive(Debug)]
pub struct Session {
    /// Unique within the process.
    pub id: u64,
    /// Name of the interface.
    pub interface: Arc<str>,
    /// DER of the certificate whose key the client proved to hold, if it presented one.
    pub client_certificate: Option<Bytes>,
    /// Whether the connection speaks HTTP/2.
    pub http2: bool,
}

/// A request, read whole and within the interface's limits.
#[derive(Debug)]
pub struct Request {
    /// The verb.
    pub method: Method,
    /// Path as sent, still percent-encoded, without the query.
    pub path: String,
    /// Query as sent, without `?`; empty when there is none.
    pub query: String,
    /// Header names are lower-case.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The connection.
    pub session: Arc<Session>,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: StatusCode,
    /// Headers; `content-length` is added by the server.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Close the connection after this answer.
    pub close: bool,
}

impl Response {
    /// An answer without headers.
    #[must_use]
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, headers: HeaderMap::new(), body: body.into(), close: false }
    }

    /// Adds a header, unless its value cannot stand in one.
    #[must_use]
    pub fn with(mut self, name: http::HeaderName, value: &str) -> Self {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// Answers requests. Called on a thread that may block.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, request: Request) -> Response;
}
