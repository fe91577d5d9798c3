//! Listening sockets, sessions and their caps, and the way from bytes to a [`Request`].
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::coalesce::Coalescing;
use super::lookout::{Busy, Lookout};
use super::refusals::Refusing;
use super::tls::{TlsError, TlsIdentity, server_config};
use super::{Handler, Request, Response, Session, odata};

/// A handshake that takes longer than this is abandoned: an idle client must not hold a session slot.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers that trickle in for longer than this end the connection (slow-loris), where idle sessions are ended at all:
/// one that sends half a header holds no more than one that sends nothing.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A body that trickles in for longer than this ends the request.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long open requests may take to finish, and their answers to be taken, once the server is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const DRAIN_INTERVAL: Duration = Duration::from_millis(5);
/// Room for all headers of a request, whatever the limit on each.
const MAX_HEAD_BYTES: usize = 512 * 1024;

/// Connections that the system keeps until they are accepted. A burst beyond this is turned away and tries again only
/// after a second; the system lowers it to its own limit.
const BACKLOG: u32 = 4096;

/// Threads at the least: each request that is being handled holds one, so that many requests that run into their time
/// limit at once still leave some for others.
const MIN_WORKERS: usize = 16;

/// What an interface speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Limits of one interface, with CCF's defaults.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest body, bytes.
    pub max_body_size: usize,
    /// Largest header name or value, bytes.
    pub max_header_size: usize,
    /// Most headers in a request.
    pub max_headers_count: usize,
    /// Sessions beyond this many are answered 503.
    pub max_open_sessions_soft: usize,
    /// Sessions beyond this many are closed at once.
    pub max_open_sessions_hard: usize,
    /// HTTP/2: streams open at once.
    pub max_concurrent_streams: u32,
    /// HTTP/2: initial window, bytes.
    pub initial_window_size: u32,
    /// HTTP/2: largest frame, bytes.
    pub max_frame_size: u32,
    /// Sessions without a request for this long are closed; `None` means never.
    pub idle_timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_size: 1024 * 1024,
            max_header_size: 16 * 1024,
            max_headers_count: 256,
            max_open_sessions_soft: 1000,
            max_open_sessions_hard: 1010,
            max_concurrent_streams: 100,
            initial_window_size: 64 * 1024,
            max_frame_size: 16 * 1024,
            idle_timeout: Some(Duration::from_secs(60)),
        }
    }
}

/// An interface to open.
#[derive(Debug)]
pub struct Interface {
    /// Its name.
    pub name: Arc<str>,
    /// Address to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its TLS identity; `None` is plain TCP.
    pub identity: Option<Arc<TlsIdentity>>,
    /// Its limits.
    pub limits: Limits,
}

/// What an interface has seen.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions open now.
    pub active: AtomicUsize,
    /// Most sessions open at once so far.
    pub peak: AtomicUsize,
    /// Requests that could not be parsed.
    pub parsing: AtomicU64,
    /// Bodies over the limit.
    pub payload_too_large: AtomicU64,
    /// Headers over the limit.
    pub header_too_large: AtomicU64,
}

/// An interface that is listening.
#[derive(Debug)]
pub struct BoundInterface {
    /// Its name.
    pub name: Arc<str>,
    /// The address that it got.
    pub address: SocketAddr,
    /// Its limits.
    pub limits: Limits,
    /// Its counters.
    pub counters: Arc<Counters>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address cannot be bound.
    #[error("interface {name} cannot listen on {address}: {source}")]
    Bind {
        /// Interface.
        name: Arc<str>,
        /// Address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Threads cannot be started.
    #[error("the server's threads cannot start: {0}")]
    Runtime(std::io::Error),
}

/// Runs interfaces until it is dropped or stopped.
#[derive(Debug)]
pub struct Server {
    runtime: Option<tokio::runtime::Runtime>,
    stop: watch::Sender<bool>,
    interfaces: Vec<BoundInterface>,
    _lookout: Lookout,
}

struct Listening {
    name: Arc<str>,
    protocol: Protocol,
    limits: Limits,
    counters: Arc<Counters>,
    acceptor: Option<TlsAcceptor>,
    handler: Arc<dyn Handler>,
    next_session: Arc<AtomicU64>,
    busy: Arc<AtomicUsize>,
}

impl Server {
    /// Binds every interface and begins to serve `handler` on them.
    ///
    /// Handlers run on `workers` threads (at least [`MIN_WORKERS`]), which may block: a request that takes long holds
    /// its own thread only.
    ///
    /// # Errors
    /// [`ServerError`] when an address cannot be bound or TLS cannot be set up; nothing is left running.
    pub fn start(
        interfaces: Vec<Interface>,
        workers: usize,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, ServerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers.max(MIN_WORKERS))
            .thread_stack_size(crate::app::THREAD_STACK_BYTES)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(ServerError::Runtime)?;
        let (stop, stopped) = watch::channel(false);
        let next_session = Arc::new(AtomicU64::new(1));
        let busy = Arc::new(AtomicUsize::new(0));
        let mut bound = Vec::with_capacity(interfaces.len());
        for interface in interfaces {
            let failed = |source| ServerError::Bind {
                name: Arc::clone(&interface.name),
                address: interface.address,
                source,
            };
            let listener = {
                let _inside = runtime.enter();
                listen(interface.address).map_err(failed)?
            };
            let address = listener.local_addr().map_err(failed)?;
            let acceptor = match &interface.identity {
                Some(identity) => {
                    let alpn: &[u8] = match interface.protocol {
                        Protocol::Http1 => b"http/1.1",
                        Protocol::Http2 => b"h2",
                    };
                    Some(TlsAcceptor::from(Arc::new(server_config(Arc::clone(identity), alpn)?)))
                }
                None => None,
            };
            let listening = Arc::new(Listening {
                name: Arc::clone(&interface.name),
                protocol: interface.protocol,
                limits: interface.limits.clone(),
                counters: Arc::default(),
                acceptor,
                handler: Arc::clone(&handler),
                next_session: Arc::clone(&next_session),
                busy: Arc::clone(&busy),
            });
            bound.push(BoundInterface {
                name: interface.name,
                address,
                limits: interface.limits,
                counters: Arc::clone(&listening.counters),
            });
            runtime.spawn(accept(listener, listening, stopped.clone()));
        }
        let lookout = Lookout::start(runtime.handle().clone(), busy).map_err(ServerError::Runtime)?;
        Ok(Self { runtime: Some(runtime), stop, interfaces: bound, _lookout: lookout })
    }

    /// The interfaces, with the addresses that they got.
    #[must_use]
    pub fn interfaces(&self) -> &[BoundInterface] {
        &self.interfaces
    }

    /// Stops accepting, closes sessions without a request, lets open requests finish for a while, and ends.
    pub fn stop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            let deadline = Instant::now() + DRAIN_TIMEOUT;
            let open = |bound: &BoundInterface| bound.counters.active.load(Ordering::Relaxed) > 0;
            while self.interfaces.iter().any(open) && Instant::now() < deadline {
                thread::sleep(DRAIN_INTERVAL);
            }
            // Whatever waits for a client is dropped now; a handler that still runs is waited for.
            runtime.shutdown_timeout(DRAIN_TIMEOUT);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A node that restarts must get its address although connections of the last one linger in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, listening: Arc<Listening>, mut stopped: watch::Receiver<bool>) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors, most likely: give others the time to close some.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = stopped.changed() => return,
        };
        let open = listening.counters.active.fetch_add(1, Ordering::Relaxed) + 1;
        let guard = SessionGuard(Arc::clone(&listening.counters));
        if open > listening.limits.max_open_sessions_hard {
            continue;
        }
        listening.counters.peak.fetch_max(open, Ordering::Relaxed);
        let over_soft_cap = open > listening.limits.max_open_sessions_soft;
        tokio::spawn(session(stream, Arc::clone(&listening), over_soft_cap, guard, stopped.clone()));
    }
}

/// Counts a session as closed when it goes, however it ends.
struct SessionGuard(Arc<Counters>);

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn session(
    stream: TcpStream,
    listening: Arc<Listening>,
    over_soft_cap: bool,
    guard: SessionGuard,
    mut stopped: watch::Receiver<bool>,
) {
    let _guard = guard;
    let _ = stream.set_nodelay(true);
    match listening.acceptor.clone() {
        None => serve(stream, None, listening, over_soft_cap, stopped).await,
        Some(acceptor) => {
            // Not counted among requests that cannot be parsed: probes of load balancers connect and leave.
            let handshake = tokio::select! {
                handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => handshake,
                _ = stopped.changed() => return,
            };
            let Ok(Ok(stream)) = handshake else {
                return;
            };
            let certificate = stream
                .get_ref()
                .1
                .peer_certificates()
                .and_then(|chain| chain.first())
                .map(|certificate| Bytes::copy_from_slice(certificate));
            serve(stream, certificate, listening, over_soft_cap, stopped).await;
        }
    }
}

async fn serve<Stream>(
    stream: Stream,
    client_certificate: Option<Bytes>,
    listening: Arc<Listening>,
    over_soft_cap: bool,
    stopped: watch::Receiver<bool>,
) where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let http2 = listening.protocol == Protocol::Http2;
    let session = Arc::new(Session {
        id: listening.next_session.fetch_add(1, Ordering::Relaxed),
        interface: Arc::clone(&listening.name),
        client_certificate,
        http2,
    });
    let limits = listening.limits.clone();
    let counters = Arc::clone(&listening.counters);
    let activity = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&activity);
    let service = service_fn(move |request| {
        seen.fetch_add(1, Ordering::Relaxed);
        respond(request, Arc::clone(&session), Arc::clone(&listening), over_soft_cap)
    });
    let connection = async {
        if http2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(limits.max_concurrent_streams)
                .initial_stream_window_size(limits.initial_window_size)
                .max_frame_size(limits.max_frame_size)
                .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX));
            until_stopped(builder.serve_connection(TokioIo::new(stream), service), stopped).await
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(limits.idle_timeout.map(|timeout| timeout.max(HEADER_TIMEOUT)))
                .max_headers(limits.max_headers_count.saturating_add(1))
                .max_buf_size(MAX_HEAD_BYTES);
            let io = TokioIo::new(Refusing::new(Coalescing::new(stream)));
            until_stopped(builder.serve_connection(io, service), stopped).await
        }
    };
    let outcome = tokio::select! {
        outcome = connection => outcome,
        () = idle(limits.idle_timeout, &activity) => return,
    };
    match outcome {
        Err(error) if is_header_too_large(&error) => {
            counters.header_too_large.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) if error.is_parse() => {
            counters.parsing.fetch_add(1, Ordering::Relaxed);
        }
        _ => {}
    }
}

/// Serves a connection; once the server stops, only as far as the requests on it that have begun.
async fn until_stopped<Connection: GracefulConnection>(
    connection: Connection,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Connection::Error> {
    let mut connection = pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Whether the library gave up on headers because of their number or size. A name that is longer than any that it
/// can represent is "internal" to it; nothing else that a client sends is.
fn is_header_too_large(error: &hyper::Error) -> bool {
    error.is_parse_too_large() || (error.is_parse() && error.to_string().contains("internal error"))
}

/// Returns when no request has begun for `timeout`.
async fn idle(timeout: Option<Duration>, activity: &AtomicU64) {
    let Some(timeout) = timeout else {
        return std::future::pending().await;
    };
    let mut last = activity.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(timeout).await;
        let now = activity.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}

async fn respond(
    request: http::Request<Incoming>,
    session: Arc<Session>,
    listening: Arc<Listening>,
    over_soft_cap: bool,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let http2 = session.http2;
    let answer = if over_soft_cap {
        // It must not go on counting against the sessions that are served.
        closing(odata(
            StatusCode::SERVICE_UNAVAILABLE,
            "SessionCapExhausted",
            "Service is currently busy and unable to serve new connections",
        ))
    } else {
        match read(request, session, &listening).await {
            Ok(request) => {
                // Handlers execute application code and may take a second. They run right here: there are many more
                // threads than processors, and what waits on this one is taken over by the others (see
                // [`Lookout`]). Handing the thread's tasks to another one for every request (block_in_place)
                // costs a switch each time, and under load connections were seen that were never woken again.
                let _busy = Busy::new(&listening.busy);
                listening.handler.handle(request)
            }
            Err(refusal) => refusal,
        }
    };
    Ok(render(answer, http2))
}

async fn read(
    request: http::Request<Incoming>,
    session: Arc<Session>,
    listening: &Listening,
) -> Result<Request, Response> {
    let limits = &listening.limits;
    let (parts, body) = request.into_parts();
    let longest = parts.headers.iter().map(|(name, value)| name.as_str().len().max(value.len())).max();
    if parts.headers.len() > limits.max_headers_count
        || longest.is_some_and(|size| size > limits.max_header_size)
    {
        listening.counters.header_too_large.fetch_add(1, Ordering::Relaxed);
        return Err(closing(odata(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "RequestHeaderTooLarge",
            &format!(
                "Headers exceed the limits of this interface: {} headers, {} bytes each",
                limits.max_headers_count, limits.max_header_size
            ),
        )));
    }
    let collected =
        tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limits.max_body_size).collect()).await;
    let body = match collected {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            listening.counters.payload_too_large.fetch_add(1, Ordering::Relaxed);
            return Err(closing(odata(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestBodyTooLarge",
                &format!("Body exceeds the limit of this interface: {} bytes", limits.max_body_size),
            )));
        }
        Ok(Err(_)) => {
            listening.counters.parsing.fetch_add(1, Ordering::Relaxed);
            return Err(closing(Response::new(StatusCode::BAD_REQUEST, "The body could not be read")));
        }
        Err(_) => {
            return Err(closing(Response::new(
                StatusCode::REQUEST_TIMEOUT,
                "The body took too long to arrive",
            )));
        }
    };
    Ok(Request {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
        session,
    })
}

fn closing(mut response: Response) -> Response {
    response.close = true;
    response
}

fn render(answer: Response, http2: bool) -> http::Response<Full<Bytes>> {
    let mut response = http::Response::new(Full::new(answer.body.clone()));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    // The answer to HEAD names the length of the body that it does not send.
    if answer.status != StatusCode::NO_CONTENT && !response.headers().contains_key(header::CONTENT_LENGTH) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    }
    if answer.close && !http2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
