//! What clients see of the HTTP front when they send well, badly, too much, too slowly or nothing at all.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::StatusCode;
use tallystick_node::http::{Counters, Handler, Interface, Limits, Protocol, Request, Response, Server};

/// More than the system keeps of what a client does not read.
const LARGE: usize = 32 << 20;

/// Answers with the path; `/slow` takes a second first, `/large` is answered at length.
struct Echo;

impl Handler for Echo {
    fn handle(&self, request: Request) -> Response {
        if request.path == "/slow" {
            std::thread::sleep(Duration::from_secs(1));
        }
        if request.path == "/large" {
            return Response::new(StatusCode::OK, vec![b'a'; LARGE]);
        }
        Response::new(StatusCode::OK, format!("{} {}", request.path, request.body.len()))
    }
}

struct Front {
    server: Server,
    address: SocketAddr,
    counters: Arc<Counters>,
}

fn front(limits: Limits) -> Front {
    let interface = Interface {
        name: "rpc".into(),
        address: "127.0.0.1:0".parse().unwrap(),
        protocol: Protocol::Http1,
        identity: None,
        limits,
    };
    let server = Server::start(vec![interface], 2, Arc::new(Echo)).unwrap();
    let bound = &server.interfaces()[0];
    let (address, counters) = (bound.address, Arc::clone(&bound.counters));
    Front { server, address, counters }
}

impl Front {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Sends `request` on a connection of its own and returns all that comes until the connection ends.
    fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // The answer may come, and the connection end, before all is sent.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn is_alive(&self) {
        let answer = self.ask(b"GET /alive HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("/alive 0"), "{answer}");
    }

    /// Waits until `done` holds of the counters.
    fn settle(&self, done: impl Fn(&Counters) -> bool) {
        let begun = Instant::now();
        while !done(&self.counters) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", self.counters);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads until the body of the last of `count` answers, which ends in `end`, is there.
fn read_until(stream: &mut TcpStream, count: usize, end: &str) -> String {
    let mut answer = String::new();
    let mut buffer = [0; 16 * 1024];
    while answer.matches("HTTP/1.1 200 ").count() < count || !answer.ends_with(end) {
        let size = stream.read(&mut buffer).unwrap();
        assert!(size > 0, "the connection ended after {answer}");
        answer.push_str(std::str::from_utf8(&buffer[..size]).unwrap());
    }
    answer
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let front = front(Limits::default());
    let mut stream = front.connect();
    let requests: String =
        (0..100).map(|number| format!("POST /{number} HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc")).collect();
    stream.write_all(requests.as_bytes()).unwrap();
    let answers = read_until(&mut stream, 100, "/99 3");
    let mut rest = answers.as_str();
    for number in 0..100 {
        let at = rest
            .find(&format!("\r\n\r\n/{number} 3"))
            .unwrap_or_else(|| panic!("{number} is missing: {rest}"));
        rest = &rest[at + 4..];
    }
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let front = front(Limits::default());
    let mut stream = front.connect();
    for piece in
        b"POST /pieces HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            .chunks(1)
    {
        stream.write_all(piece).unwrap();
    }
    read_until(&mut stream, 1, "/pieces 5");
}

#[test]
fn malformed_requests_end_only_their_own_connection() {
    let front = front(Limits::default());
    let malformed: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad name : x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"\0\0\0\0\r\n\r\n",
    ];
    for request in malformed {
        let answer = front.ask(request);
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("Unable to parse"),
            "{request:?}: {answer}"
        );
    }
    assert!(
        front
            .ask(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
            .starts_with("HTTP/1.1 400 ")
    );
    front.settle(|counters| counters.parsing.load(Ordering::Relaxed) >= 9);
    front.is_alive();
}

#[test]
fn what_precedes_a_malformed_or_unfinished_request_is_answered() {
    let front = front(Limits::default());
    let answer = front.ask(b"GET /first HTTP/1.1\r\n\r\nGET\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("/first 0HTTP/1.1 400 "), "{answer}");
    let mut stream = front.connect();
    stream.write_all(b"GET /first HTTP/1.1\r\n\r\nGET /sec").unwrap();
    read_until(&mut stream, 1, "/first 0");
    stream.write_all(b"ond HTTP/1.1\r\n\r\n").unwrap();
    read_until(&mut stream, 1, "/second 0");
}

#[test]
fn oversized_requests_are_refused_by_name() {
    let front = front(Limits {
        max_body_size: 1000,
        max_header_size: 100,
        max_headers_count: 10,
        ..Limits::default()
    });
    let body = format!("POST / HTTP/1.1\r\ncontent-length: 1001\r\n\r\n{}", "a".repeat(1001));
    let answer = front.ask(body.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("RequestBodyTooLarge"), "{answer}");
    let chunks = "64\r\n".to_owned() + &"a".repeat(100) + "\r\n";
    let body = format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks.repeat(11));
    let answer = front.ask(body.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    for headers in
        [format!("x: {}\r\n", "a".repeat(101)), format!("{}: a\r\n", "x".repeat(101)), "x: a\r\n".repeat(11)]
    {
        let answer = front.ask(format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("RequestHeaderTooLarge"), "{answer}");
    }
    front.settle(|counters| {
        (
            counters.payload_too_large.load(Ordering::Relaxed),
            counters.header_too_large.load(Ordering::Relaxed),
        ) == (2, 3)
    });
    front.is_alive();
}

#[test]
fn sessions_beyond_the_soft_cap_hear_so_and_beyond_the_hard_cap_are_closed() {
    let front = front(Limits { max_open_sessions_soft: 3, max_open_sessions_hard: 4, ..Limits::default() });
    let mut held: Vec<TcpStream> = (0..3).map(|_| front.connect()).collect();
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == 3);
    let mut soft = front.connect();
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == 4);
    assert_eq!(front.ask(b"GET /hard HTTP/1.1\r\n\r\n"), "");
    soft.write_all(b"GET /soft HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // Reads to the end: such a session is closed once it was answered.
    soft.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 503 "));
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == 3);
    held[0].write_all(b"GET /held HTTP/1.1\r\n\r\n").unwrap();
    read_until(&mut held[0], 1, "/held 0");
    drop((held, soft));
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == 0);
    front.is_alive();
    assert_eq!(front.counters.peak.load(Ordering::Relaxed), 4);
}

#[test]
fn ten_thousand_idle_connections_hold_nobody_up() {
    // Both ends of each are in this process; where it may not open so many files, it opens what it may.
    let wanted = 9_500;
    let front = front(Limits {
        max_open_sessions_soft: 2 * wanted,
        max_open_sessions_hard: 2 * wanted,
        idle_timeout: None,
        ..Limits::default()
    });
    let mut idle = Vec::with_capacity(wanted);
    while idle.len() < wanted {
        let Ok(stream) = TcpStream::connect(front.address) else { break };
        idle.push(stream);
        if idle.len() % 1000 == 0 {
            front.settle(|counters| counters.active.load(Ordering::Relaxed) >= idle.len());
        }
    }
    // Room for the requests themselves, should files have run out.
    idle.truncate(idle.len() - idle.len() / 10);
    let begun = Instant::now();
    front.is_alive();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(front.counters.active.load(Ordering::Relaxed) >= idle.len(), "some were closed");
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET /woken HTTP/1.1\r\n\r\n").unwrap();
    read_until(last, 1, "/woken 0");
}

#[test]
fn idle_sessions_are_closed() {
    let front = front(Limits { idle_timeout: Some(Duration::from_millis(200)), ..Limits::default() });
    let mut stream = front.connect();
    stream.write_all(b"GET /once HTTP/1.1\r\n\r\n").unwrap();
    read_until(&mut stream, 1, "/once 0");
    // Half a request is not activity either.
    stream.write_all(b"GET /twice HT").unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == 0);
}

#[test]
fn sessions_that_may_idle_outlast_the_limit_on_headers() {
    let front = front(Limits { idle_timeout: None, ..Limits::default() });
    let mut stream = front.connect();
    stream.write_all(b"GET /late HT").unwrap();
    // Longer than headers may take where idle sessions are closed.
    std::thread::sleep(Duration::from_secs(32));
    stream.write_all(b"TP/1.1\r\n\r\n").unwrap();
    read_until(&mut stream, 1, "/late 0");
}

#[test]
fn requests_that_take_long_hold_only_themselves() {
    let mut front = front(Limits::default());
    let mut slow: Vec<TcpStream> = (0..8).map(|_| front.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /slow HTTP/1.1\r\n\r\n").unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..10 {
        let begun = Instant::now();
        front.is_alive();
        assert!(begun.elapsed() < Duration::from_millis(700), "held up for {:?}", begun.elapsed());
    }
    for stream in &mut slow {
        read_until(stream, 1, "/slow 0");
    }
    front.server.stop();
    assert!(TcpStream::connect(front.address).is_err(), "it still listens");
}

#[test]
fn a_server_that_stops_finishes_what_has_begun() {
    let mut front = front(Limits::default());
    let (mut idle, mut unread, mut half) = (front.connect(), front.connect(), front.connect());
    idle.write_all(b"GET /idle HTTP/1.1\r\n\r\n").unwrap();
    read_until(&mut idle, 1, "/idle 0");
    unread.write_all(b"GET /large HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = vec![0; 1000];
    unread.read_exact(&mut answer).unwrap();
    half.write_all(b"POST /half HTTP/1.1\r\ncontent-length: 6\r\nexpect: 100-continue\r\n\r\n").unwrap();
    // Asked for the rest, so that the request has begun.
    let mut begun = [0; 25];
    half.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 100 Continue\r\n\r\n");
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| front.server.stop());
        // Nothing was asked on it, so it ends, and by that the others know that the server stops.
        assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0);
        half.write_all(b"abcdef").unwrap();
        read_until(&mut half, 1, "/half 6");
        unread.read_to_end(&mut answer).unwrap();
        assert!(answer.len() > LARGE && answer.ends_with(b"aaaa"), "{}", answer.len());
        stopping.join().unwrap();
    });
    assert!(TcpStream::connect(front.address).is_err(), "it still listens");
}
