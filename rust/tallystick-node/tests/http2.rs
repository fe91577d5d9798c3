//! What clients do over HTTP/2 that they must not, frame by frame: it ends their own connection at most, takes bounded
//! memory, and others are answered meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a panic is how a test fails, and frames here are short"
)]
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tallystick_node::http::{Counters, Handler, Interface, Limits, Protocol, Request, Response, Server};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// First byte of a header block that says 200.
const OK: u8 = 0x88;
/// Error: the stream was not looked at, and may be tried again.
const REFUSED_STREAM: u32 = 7;
/// Error: the client does what costs us and brings nobody anything.
const ENHANCE_YOUR_CALM: u32 = 11;

/// Answers with the path, and counts.
struct Echo(Arc<AtomicUsize>);

impl Handler for Echo {
    fn handle(&self, request: Request) -> Response {
        self.0.fetch_add(1, Ordering::SeqCst);
        Response::new(StatusCode::OK, format!("{} {}", request.path, request.body.len()))
    }
}

struct Front {
    _server: Server,
    address: SocketAddr,
    counters: Arc<Counters>,
    handled: Arc<AtomicUsize>,
}

fn front(limits: Limits) -> Front {
    let interface = Interface {
        name: "rpc".into(),
        address: "127.0.0.1:0".parse().unwrap(),
        protocol: Protocol::Http2,
        identity: None,
        limits,
    };
    let handled = Arc::new(AtomicUsize::new(0));
    let server = Server::start(vec![interface], 2, Arc::new(Echo(Arc::clone(&handled)))).unwrap();
    let bound = &server.interfaces()[0];
    let (address, counters) = (bound.address, Arc::clone(&bound.counters));
    Front { _server: server, address, counters, handled }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Header block of a GET: method and scheme by index, path and authority as text.
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'a']);
    block
}

fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(path))
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = pairs
        .iter()
        .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

/// A frame that came.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The error that ends a stream or the connection.
    fn error(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap()))
    }
}

struct Client(TcpStream);

impl Client {
    /// Sends; the connection may have ended meanwhile.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        if let Err(error) = self.0.read_exact(&mut head) {
            assert!(
                matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
                "the connection neither goes on nor ends: {error}"
            );
            return None;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Everything until the connection ends.
    fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.read()).collect()
    }

    /// Reads until the answer on `stream` is whole, and returns its body.
    fn answer(&mut self, stream: u32) -> String {
        let mut body = Vec::new();
        loop {
            let frame = self.read().unwrap_or_else(|| panic!("the connection ended after {body:?}"));
            if frame.stream == stream {
                assert_eq!(frame.error(), None, "{frame:?}");
                if frame.kind == DATA {
                    body.extend(&frame.payload);
                }
                if frame.flags & END_STREAM != 0 {
                    return String::from_utf8(body).unwrap();
                }
            }
        }
    }
}

impl Front {
    fn tcp(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        Client(stream)
    }

    fn connect(&self, with: &[(u16, u32)]) -> Client {
        let mut client = self.tcp();
        assert!(client.send(PREFACE) && client.send(&settings(with)));
        client
    }

    fn is_alive(&self) {
        let mut client = self.connect(&[]);
        assert!(client.send(&request(1, "/alive")));
        assert_eq!(client.answer(1), "/alive 0");
    }

    /// Sends `bytes` on a connection of its own, which must end with an error that has a name.
    fn is_fatal(&self, what: &str, bytes: &[u8]) {
        let mut client = self.connect(&[]);
        client.send(bytes);
        let error = client.rest().iter().filter(|frame| frame.kind == GOAWAY).find_map(Frame::error);
        assert!(error.is_some_and(|error| error != 0), "{what}: {error:?}");
    }

    /// Waits until `done` holds of the counters.
    fn settle(&self, done: impl Fn(&Counters) -> bool) {
        let begun = Instant::now();
        while !done(&self.counters) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", self.counters);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn streams_of_one_connection_are_answered() {
    let front = front(Limits::default());
    let mut client = front.connect(&[]);
    for stream in (1..100).step_by(2) {
        client.send(&request(stream, &format!("/{stream}")));
        assert_eq!(client.answer(stream), format!("/{stream} 0"));
    }
}

#[test]
fn a_bad_preface_ends_only_its_own_connection() {
    let front = front(Limits::default());
    let prefaces: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        &PREFACE[..10],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        &[0xff; 1000],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for preface in prefaces {
        let mut client = front.tcp();
        client.send(preface);
        client.0.shutdown(Shutdown::Write).unwrap();
        client.rest();
    }
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == 0);
    assert_eq!(front.handled.load(Ordering::SeqCst), 0);
    front.is_alive();
}

#[test]
fn frames_against_the_protocol_end_their_connection_by_name() {
    let front = front(Limits::default());
    let opened = request(1, "/opened");
    let after = |frames: &[u8]| [&opened[..], frames].concat();
    let half = frame(HEADERS, END_STREAM, 1, &get("/half"));
    let unfinished = |frames: &[u8]| [&half[..], frames].concat();
    let mut huge = frame(DATA, 0, 1, &[]);
    huge[..3].fill(0xff);
    let maximal = u32::MAX >> 1;
    for (what, bytes) in [
        ("a frame of 16 MiB", huge),
        ("a frame over the limit", frame(DATA, 0, 1, &[0; 16_385])),
        ("headers on stream 0", request(0, "/")),
        ("headers on an even stream", request(2, "/")),
        ("a stream ID that goes back", after(&[request(9, "/"), request(5, "/")].concat())),
        ("data on an idle stream", frame(DATA, 0, 7, b"x")),
        ("data on stream 0", frame(DATA, 0, 0, b"x")),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &get("/"))),
        ("another frame among headers", unfinished(&frame(PING, 0, 0, &[0; 8]))),
        ("another stream's headers among headers", unfinished(&request(3, "/"))),
        ("settings of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("an acknowledgement with content", frame(SETTINGS, 1, 0, &[0; 6])),
        ("a window beyond 2^31", settings(&[(4, 1 << 31)])),
        ("frames too small", settings(&[(5, 1)])),
        ("push neither on nor off", settings(&[(2, 2)])),
        ("a ping of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("a ping on a stream", frame(PING, 0, 1, &[0; 8])),
        ("a reset of an idle stream", frame(RST_STREAM, 0, 9, &[0, 0, 0, 8])),
        ("a reset of 3 bytes", after(&frame(RST_STREAM, 0, 1, &[0; 3]))),
        ("a promise", after(&frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]))),
        ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window that overflows", frame(WINDOW_UPDATE, 0, 0, &maximal.to_be_bytes()).repeat(2)),
        ("a window update of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("more padding than there is", frame(HEADERS, PADDED | END_HEADERS, 1, &[200, 0x82])),
        ("a priority of 4 bytes", frame(PRIORITY, 0, 1, &[0; 4])),
        ("a header that is not in the table", frame(HEADERS, END_HEADERS, 1, &[0xff, 0x7f])),
        ("a header table that is too large", frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xff, 0xff, 0x7f])),
        ("a number without end", frame(HEADERS, END_HEADERS, 1, &[0xff; 40])),
    ] {
        front.is_fatal(what, &bytes);
    }
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == 0);
    front.is_alive();
}

#[test]
fn malformed_requests_are_never_handled() {
    let front = front(Limits::default());
    let text = |name: &str, value: &str| {
        [&[0, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    let blocks = [
        // No method; an upper-case name; a pseudo-header after others, twice, or unknown; headers of HTTP/1.1.
        vec![0x84, 0x86],
        [get("/"), text("Upper", "x")].concat(),
        [text("x", "y"), get("/")].concat(),
        [get("/"), get("/")].concat(),
        [text(":unknown", "x"), get("/")].concat(),
        [get("/"), text("connection", "keep-alive")].concat(),
        [get("/"), text("transfer-encoding", "chunked")].concat(),
        [get("/"), text("x", "a\r\nb: c")].concat(),
        // Paths that are empty, or no URI.
        [&[0x82, 0x86][..], &[0x04, 0], &[0x01, 1, b'a']].concat(),
        get("/ /"),
        get("/\r\n"),
    ];
    for block in blocks {
        let mut client = front.connect(&[]);
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        let ended = std::iter::from_fn(|| client.read()).find_map(|frame| frame.error());
        assert!(ended.is_some_and(|error| error != 0), "{block:x?}: {ended:?}");
    }
    // A body longer or shorter than was said.
    for said in ["1", "3"] {
        let mut client = front.connect(&[]);
        client.send(&frame(HEADERS, END_HEADERS, 1, &[get("/"), text("content-length", said)].concat()));
        client.send(&frame(DATA, END_STREAM, 1, b"ab"));
        let ended = std::iter::from_fn(|| client.read())
            .find(|frame| frame.stream == 1 && frame.kind != WINDOW_UPDATE)
            .unwrap();
        assert!(ended.error().is_some() || ended.payload.first() != Some(&OK), "{ended:?}");
    }
    assert_eq!(front.handled.load(Ordering::SeqCst), 0);
    front.is_alive();
}

#[test]
fn a_malformed_request_spares_the_other_streams() {
    let front = front(Limits::default());
    let mut client = front.connect(&[]);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x84, 0x86]));
    let ended = std::iter::from_fn(|| client.read()).find(|frame| frame.error().is_some()).unwrap();
    assert_eq!((ended.kind, ended.stream), (RST_STREAM, 1));
    client.send(&request(3, "/goes-on"));
    assert_eq!(client.answer(3), "/goes-on 0");
}

#[test]
fn header_bombs_are_not_unpacked() {
    let front = front(Limits::default());
    // One header of 3,000 bytes goes into the table, and then each byte stands for it again: 12 MB.
    let mut bomb = get("/bomb");
    bomb.extend([0x40, 1, b'x', 0x7f, 0xb9, 0x16]);
    bomb.extend([b'y'; 3000]);
    bomb.extend([0xbe; 4000]);
    front.is_fatal("a header bomb", &frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
    assert_eq!(front.handled.load(Ordering::SeqCst), 0);
    front.is_alive();
}

#[test]
fn too_many_headers_are_refused_by_name() {
    let front = front(Limits { max_headers_count: 10, max_header_size: 100, ..Limits::default() });
    let mut client = front.connect(&[]);
    let long = [&[0, 1, b'x', 101][..], &[b'y'; 101]].concat();
    for (stream, more) in [(1, [0, 1, b'x', 1, b'y'].repeat(11)), (3, long)] {
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &[get("/"), more].concat()));
        assert!(client.answer(stream).contains("RequestHeaderTooLarge"));
    }
    front.settle(|counters| counters.header_too_large.load(Ordering::Relaxed) == 2);
}

#[test]
fn endless_continuations_are_cut_off() {
    let front = front(Limits::default());
    // Of a size that fills frames, of one byte, and of nothing.
    for size in [16_000, 1, 0] {
        let mut client = front.connect(&[]);
        client.send(&frame(HEADERS, END_STREAM, 1, &get("/endless")));
        let block = [&[0, 1, b'x', 0x7f, 0x80, 0x7b][..], &[b'y'; 15_871]].concat();
        let more = frame(CONTINUATION, 0, 1, block.get(..size).unwrap_or(&block));
        let begun = Instant::now();
        while client.send(&more) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it takes frames of {size} without end");
        }
    }
    front.is_alive();
    assert_eq!(front.handled.load(Ordering::SeqCst), 1);
}

/// Sends what `make` gives for stream after stream, until the connection is ended for it.
fn flood(front: &Front, make: impl Fn(u32) -> Vec<u8>) {
    let mut client = front.connect(&[]);
    let mut reader = Client(client.0.try_clone().unwrap());
    let reading = std::thread::spawn(move || reader.rest());
    let begun = Instant::now();
    let mut stream = 1;
    while client.send(&make(stream)) {
        stream += 2;
        assert!(begun.elapsed() < Duration::from_secs(60), "it bears {stream} streams");
        if stream % 1001 == 0 {
            front.is_alive();
        }
    }
    let errors: Vec<u32> = reading
        .join()
        .unwrap()
        .iter()
        .filter(|frame| frame.kind == GOAWAY)
        .filter_map(Frame::error)
        .collect();
    // The reset of the connection may overtake the frame that says why.
    assert!(errors.is_empty() || errors.contains(&ENHANCE_YOUR_CALM), "{errors:?}");
    front.is_alive();
}

#[test]
fn streams_that_are_opened_only_to_be_reset_end_the_connection() {
    let front = front(Limits::default());
    let reset = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    // A burst in one write, so that the resets come before anything is answered.
    flood(&front, |stream| {
        (0..500)
            .flat_map(|index| {
                let stream = stream * 1000 + 2 * index + 1;
                [request(stream, "/reset"), reset(stream)].concat()
            })
            .collect()
    });
}

#[test]
fn streams_that_make_the_node_reset_them_end_the_connection() {
    let front = front(Limits::default());
    // Each is well opened, and then its window overflows.
    flood(&front, |stream| {
        let opened = frame(HEADERS, END_HEADERS, stream, &get("/made"));
        [opened, frame(WINDOW_UPDATE, 0, stream, &(u32::MAX >> 1).to_be_bytes())].concat()
    });
}

#[test]
fn floods_of_settings_and_pings_wait_until_their_answers_are_read() {
    let front = front(Limits::default());
    for flood in [settings(&[(4, 65_535)]), settings(&[]), frame(PING, 0, 0, &[1; 8])] {
        let mut client = front.connect(&[]);
        client.0.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let many = flood.repeat(10_000);
        // As answers are not read, it takes no more than the buffers between hold, or ends the connection.
        let mut sent = 0;
        while client.send(&many) {
            sent += many.len();
            assert!(sent < 256 << 20, "it takes frames without end although nobody reads its answers");
        }
        front.is_alive();
    }
}

#[test]
fn a_closed_window_holds_up_only_its_own_answers() {
    let front = front(Limits { max_concurrent_streams: 10, ..Limits::default() });
    let mut client = front.connect(&[(4, 0)]);
    for index in 0..10 {
        client.send(&request(2 * index + 1, "/waits"));
    }
    let begun = Instant::now();
    while front.handled.load(Ordering::SeqCst) < 10 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
    // All streams that there may be wait, so another is not taken.
    client.send(&request(21, "/too-many"));
    let refused = std::iter::from_fn(|| client.read()).find(|frame| frame.error().is_some()).unwrap();
    assert_eq!((refused.stream, refused.error()), (21, Some(REFUSED_STREAM)));
    front.is_alive();
    client.send(&frame(WINDOW_UPDATE, 0, 1, &100_u32.to_be_bytes()));
    assert_eq!(client.answer(1), "/waits 0");
    // The other windows open all at once.
    client.send(&settings(&[(4, 65_535)]));
    assert_eq!(client.answer(19), "/waits 0");
}

#[test]
fn a_window_that_stays_closed_ends_with_the_idle_session() {
    let front = front(Limits { idle_timeout: Some(Duration::from_millis(300)), ..Limits::default() });
    let mut client = front.connect(&[(4, 0)]);
    client.send(&request(1, "/never"));
    client.rest();
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == 0);
    assert_eq!(front.handled.load(Ordering::SeqCst), 1);
}

#[test]
fn bodies_over_the_limit_are_refused_by_name() {
    let front = front(Limits { max_body_size: 1000, ..Limits::default() });
    let mut client = front.connect(&[]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &get("/body")));
    client.send(&frame(DATA, END_STREAM, 1, &[b'x'; 1001]));
    assert!(client.answer(1).contains("RequestBodyTooLarge"));
    client.send(&frame(HEADERS, END_HEADERS, 3, &get("/body")));
    client.send(&frame(DATA, END_STREAM, 3, &[b'x'; 1000]));
    assert_eq!(client.answer(3), "/body 1000");
    front.settle(|counters| counters.payload_too_large.load(Ordering::Relaxed) == 1);
}
