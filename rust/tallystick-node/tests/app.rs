//! Endpoints of an application, from a request to the answer and the ledger.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test may panic"
)]
#[path = "support/fixed.rs"]
mod fixed;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fixed::FixedSigner;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tallystick_core::types::TxId;
use tallystick_node::app::{App, AppLog, Gate, LogLevel, Refusal};
use tallystick_node::entry::LedgerSecret;
use tallystick_node::http::{Request, Response, Session};
use tallystick_node::ledger::{LedgerError, Options as LedgerOptions};
use tallystick_node::node::{Node, Options};
use tallystick_node::sequencer::{Committing, Observer, Options as SequencerOptions, SignatureMode};

struct Nobody;

impl Observer for Nobody {
    fn committed(&self, _txid: TxId) {}
    fn delayed(&self, _error: &LedgerError) {}
}

#[derive(Default)]
struct Lines(Mutex<Vec<(String, String)>>);

impl AppLog for Lines {
    fn line(&self, tag: &'static str, _level: LogLevel, text: &str) {
        self.0.lock().push((tag.to_owned(), text.to_owned()));
    }
    fn wants(&self, _level: LogLevel) -> bool {
        true
    }
}

/// Serves all but what only backups answer.
struct NoBackups;

impl Gate for NoBackups {
    fn refusal(&self, interface: &str, route: &str, redirects_to: &str) -> Option<Refusal> {
        assert_eq!(interface, "i");
        let error = Some(("BackupNotFound".to_owned(), route.to_owned()));
        (redirects_to == "to_backup").then_some(Refusal { status: 503, error })
    }
}

struct Fixture {
    node: Node,
    app: Arc<App>,
    log: Arc<Lines>,
    directory: PathBuf,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.node.stop();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

type Endpoint<'a> = (&'a str, &'a str, Value);

fn endpoint(function: &str) -> Value {
    json!({ "js_module": "/app.js", "js_function": function, "mode": "readwrite", "forwarding_required": "always", "authn_policies": ["no_auth"] })
}

fn with(mut endpoint: Value, name: &str, value: Value) -> Value {
    endpoint[name] = value;
    endpoint
}

impl Fixture {
    fn new(name: &str, source: &str, endpoints: &[Endpoint<'_>]) -> Self {
        let directory = std::env::temp_dir().join(format!("tallystick-app-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let options = Options {
            sequencer: SequencerOptions {
                view: 2,
                signature_tx_count: 100,
                chunk_size: 5_000_000,
                max_uncommitted: 0,
                mode: SignatureMode::Dual,
            },
            ledger: LedgerOptions { directory: directory.clone(), read_only: Vec::new(), sync: false },
            signature_delay: Duration::from_millis(20),
        };
        let secret = LedgerSecret::new(&[7; 32]).unwrap();
        let node = Node::start(options, secret, Arc::new(FixedSigner), Nobody).unwrap();
        let log = Arc::new(Lines::default());
        let app = App::new(
            Arc::clone(node.sequencer()),
            Arc::clone(node.files()),
            Arc::clone(&log) as _,
            Arc::new(NoBackups),
        );
        let fixture = Self { node, app, log, directory };
        fixture.install(source, endpoints);
        fixture.put("public:ccf.gov.service.info", &[0; 8], br#"{"status":"Open"}"#);
        fixture
    }

    fn install(&self, source: &str, endpoints: &[Endpoint<'_>]) {
        let mut transaction = self.node.sequencer().begin();
        transaction.clear("public:ccf.gov.endpoints");
        transaction.set(
            "public:ccf.gov.modules",
            "/app.js".into(),
            Bytes::copy_from_slice(source.as_bytes()),
        );
        for (verb, path, properties) in endpoints {
            transaction.set(
                "public:ccf.gov.endpoints",
                format!("{verb} {path}").into(),
                properties.to_string().into(),
            );
        }
        transaction.set(
            "public:ccf.gov.interpreter.flush",
            Bytes::from_static(&[0; 8]),
            Bytes::from_static(b"true"),
        );
        self.node.sequencer().commit(&transaction, Committing::default()).unwrap();
    }

    fn put(&self, table: &str, key: &[u8], value: &[u8]) -> TxId {
        let mut transaction = self.node.sequencer().begin();
        transaction.set(table, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        self.node.sequencer().commit(&transaction, Committing::default()).unwrap()
    }

    fn value(&self, table: &str, key: &str) -> Option<Bytes> {
        self.node.sequencer().begin().get(table, key.as_bytes())
    }

    fn ask(&self, request: Request) -> Response {
        self.app.answer(&request).unwrap()
    }

    fn get(&self, target: &str) -> Response {
        self.ask(request(Method::GET, target, ""))
    }

    fn post(&self, target: &str, body: &str) -> Response {
        self.ask(request(Method::POST, target, body))
    }
}

fn request(method: Method, target: &str, body: &str) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        session: Arc::new(Session { id: 1, interface: "i".into(), client_certificate: None, http2: false }),
    }
}

fn header_of(mut request: Request, name: &'static str, value: &str) -> Request {
    request.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    request
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.to_vec()).unwrap()
}

fn code(response: &Response) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

const LOG: &str = "
    const records = ccf.kv['records'];
    export function write(request) {
        records.set(ccf.strToBuf(request.params.id), request.body.arrayBuffer());
        return { body: true };
    }
    export function read(request) {
        const value = records.get(ccf.strToBuf(request.params.id));
        return value === undefined ? { statusCode: 404, body: { error: 'absent' } } : { body: ccf.bufToStr(value) };
    }
    export function past(request) {
        const { transactionId, receipt, kv } = ccf.historicalState;
        return { body: [transactionId, receipt.leaf_components !== undefined, receipt.proof.length > 0, receipt.is_signature_transaction,
            ccf.bufToStr(kv.records.get(ccf.strToBuf('7')))] };
    }
    export function range(request) {
        const states = ccf.historical.getStateRange(1, Number(request.params.first), Number(request.params.last), 100);
        return { body: states === null ? null : states.map((state) => [state.transactionId, state.kv.records.size]) };
    }
    export function wrong() { records.set(ccf.strToBuf('x'), ccf.strToBuf('y')); return { statusCode: 400 }; }
    export function forced() {
        records.set(ccf.strToBuf('forced'), ccf.strToBuf('y'));
        ccf.rpc.setApplyWrites(true);
        return { statusCode: 400, headers: { 'X-Own': 1 } };
    }
    export function throws() { throw new Error('on purpose'); }
    export function loop() { for (;;); }
    export function count() { globalThis.n = (globalThis.n || 0) + 1; return { body: globalThis.n }; }
    export function caller(request) { return { body: request.caller }; }
    export function whole(request) { return { body: [request.path, request.route, request.url, request.query, request.hostname, request.params] }; }";

fn logging(name: &str) -> Fixture {
    let readonly = |function| with(endpoint(function), "mode", json!("readonly"));
    Fixture::new(
        name,
        LOG,
        &[
            ("POST", "/log/{id}", endpoint("write")),
            ("GET", "/log/{id}", readonly("read")),
            ("PUT", "/log/{id}", readonly("write")),
            ("GET", "/past", with(endpoint("past"), "mode", json!("historical"))),
            ("GET", "/range/{first}/{last}", readonly("range")),
            ("POST", "/wrong", endpoint("wrong")),
            ("POST", "/forced", endpoint("forced")),
            ("GET", "/throws", endpoint("throws")),
            ("GET", "/loop", endpoint("loop")),
            ("GET", "/count", endpoint("count")),
            ("GET", "/reused", with(endpoint("count"), "interpreter_reuse", json!({ "key": "k" }))),
            ("GET", "/other", with(endpoint("count"), "interpreter_reuse", json!({ "key": "l" }))),
            ("GET", "/whole/{a}/{b}", readonly("whole")),
            ("GET", "/user", with(endpoint("caller"), "authn_policies", json!(["user_cert", "jwt"]))),
            ("GET", "/nobody", with(endpoint("caller"), "authn_policies", json!([]))),
            ("GET", "/anybody", endpoint("caller")),
            ("GET", "/unknown-policy", with(endpoint("caller"), "authn_policies", json!(["magic"]))),
            ("GET", "/backup", with(endpoint("caller"), "redirection_strategy", json!("to_backup"))),
            ("GET", "/missing", with(endpoint("nothing"), "js_module", json!("/none.js"))),
        ],
    )
}

#[test]
fn writes_and_reads_in_transactions() {
    let fixture = logging("writes");
    let written = fixture.post("/app/log/7", "seven");
    assert_eq!((written.status.as_u16(), text(&written).as_str()), (200, "true"));
    let txid = written.headers["x-ms-ccf-transaction-id"].to_str().unwrap().to_owned();
    assert_eq!(TxId::parse(&txid).unwrap().seqno, fixture.node.sequencer().begin().base().version());
    let read = fixture.get("/log/7");
    assert_eq!(
        (text(&read).as_str(), read.headers["x-ms-ccf-transaction-id"].to_str().unwrap()),
        ("seven", txid.as_str())
    );
    assert_eq!(read.headers["content-type"], "text/plain");
    let absent = fixture.get("/app/log/8");
    assert_eq!(absent.status, 404);
    assert!(!absent.headers.contains_key("x-ms-ccf-transaction-id"));
    assert_eq!(fixture.post("/app/wrong", "").status, 400);
    assert_eq!(fixture.value("records", "x"), None);
    let forced = fixture.post("/app/forced", "");
    assert_eq!((forced.status.as_u16(), forced.headers["x-own"].to_str().unwrap()), (400, "1"));
    assert!(forced.headers.contains_key("x-ms-ccf-transaction-id"));
    assert_eq!(fixture.value("records", "forced").as_deref(), Some(b"y".as_slice()));
    let readonly = fixture.ask(request(Method::PUT, "/app/log/9", "x"));
    assert_eq!((readonly.status.as_u16(), code(&readonly).as_str()), (500, "InternalError"));
}

#[test]
fn finds_endpoints() {
    let fixture = logging("finds");
    assert!(fixture.app.answer(&request(Method::GET, "/node/commit", "")).is_none());
    assert!(fixture.app.answer(&request(Method::GET, "/app/nothing", "")).is_none());
    let wrong_verb = fixture.ask(request(Method::DELETE, "/app/log/7", ""));
    assert_eq!((wrong_verb.status.as_u16(), code(&wrong_verb).as_str()), (405, "UnsupportedHttpVerb"));
    assert_eq!(wrong_verb.headers["allow"], "OPTIONS, GET, POST, PUT");
    assert_eq!(fixture.ask(request(Method::OPTIONS, "/app/log/7", "")).status, 204);
    fixture.put("public:ccf.gov.endpoints", b"GET /malformed", b"{}}");
    fixture.put("public:ccf.gov.endpoints", b"nonsense", b"{}");
    fixture.put("public:ccf.gov.endpoints", b"GET /{a", b"{}");
    assert_eq!(code(&fixture.get("/app/malformed")), "InternalError");
    let backup = fixture.get("/app/backup");
    assert_eq!((backup.status.as_u16(), code(&backup).as_str()), (503, "BackupNotFound"));
    let whole = fixture.get("/app/whole/a%20b/c?x=%26y%3D1&z=a+b");
    assert_eq!(
        text(&whole),
        r#"["/app/whole/a%20b/c","/app/whole/{a}/{b}","/app/whole/a%20b/c?x=%26y%3D1&z=a+b","x=&y=1&z=a b",null,{"a":"a%20b","b":"c"}]"#
    );
    fixture.put("public:ccf.gov.endpoints", b"GET /log/{other}", endpoint("read").to_string().as_bytes());
    let double = fixture.get("/app/log/7");
    assert_eq!((double.status.as_u16(), double.close), (500, true));
    fixture.put("public:ccf.gov.service.info", &[0; 8], br#"{"status":"Opening"}"#);
    assert_eq!(code(&fixture.get("/app/whole/a/b")), "FrontendNotOpen");
}

#[test]
fn tells_callers_apart_and_refuses_with_reasons() {
    let fixture = logging("callers");
    assert_eq!(text(&fixture.get("/app/nobody")), "null");
    assert_eq!(text(&fixture.get("/app/anybody")), r#"{"policy":"no_auth"}"#);
    let refused = fixture.get("/app/user");
    assert_eq!((refused.status.as_u16(), code(&refused).as_str()), (401, "InvalidAuthenticationInfo"));
    assert!(refused.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(body["error"]["message"], "Invalid authentication credentials.");
    assert_eq!(body["error"]["details"][0]["auth_policy"], "user_cert");
    assert_eq!(body["error"]["details"][0]["message"], "No caller user certificate");
    assert_eq!(body["error"]["details"][1]["message"], "Missing authorization header");
    let unknown = fixture.get("/app/unknown-policy");
    assert_eq!((unknown.status.as_u16(), unknown.close), (500, true));
}

#[test]
fn failures_say_as_much_as_options_allow() {
    let fixture = logging("failures");
    let silent = fixture.get("/app/throws");
    assert_eq!(
        text(&silent),
        r#"{"error":{"code":"InternalError","message":"Exception thrown while executing."}}"#
    );
    let options = json!({ "max_heap_bytes": 1 << 24, "max_stack_bytes": 1 << 18, "max_execution_time_ms": 200, "return_exception_details": true, "log_exception_details": true });
    fixture.put("public:ccf.gov.js_runtime_options", &[0; 8], options.to_string().as_bytes());
    let body: Value = serde_json::from_slice(&fixture.get("/app/throws").body).unwrap();
    let detail = &body["error"]["details"][0];
    assert_eq!(
        (detail["code"].as_str(), detail["message"].as_str()),
        (Some("JSException"), Some("Error: on purpose"))
    );
    assert!(detail["trace"].as_str().unwrap().contains("throws"));
    assert!(
        fixture
            .log
            .0
            .lock()
            .iter()
            .any(|(tag, line)| tag == "app" && line.starts_with("Error: on purpose: "))
    );
    let start = Instant::now();
    let looping = fixture.get("/app/loop");
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(text(&looping).contains("Operation took too long to complete."));
    let missing = text(&fixture.get("/app/missing"));
    assert!(missing.contains("Module '/none.js' could not be loaded"), "{missing}");
    assert_eq!(fixture.get("/app/anybody").status, 200);
    let lines = fixture.log.0.lock();
    let complete = lines.iter().filter(|(tag, line)| {
        tag == "js"
            && line.starts_with(
                "JS execution complete: Method=GET, Path=/app/anybody, Status=200, ExecMilliseconds=",
            )
    });
    assert_eq!(complete.count(), 1);
}

#[test]
fn a_loop_holds_nobody_else() {
    let fixture = Arc::new(logging("loop"));
    let options = json!({ "max_execution_time_ms": 1000 });
    fixture.put("public:ccf.gov.js_runtime_options", &[0; 8], options.to_string().as_bytes());
    let looping = Arc::clone(&fixture);
    let thread = std::thread::spawn(move || looping.get("/app/loop").status.as_u16());
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    assert_eq!(fixture.get("/app/anybody").status, 200);
    assert!(start.elapsed() < Duration::from_millis(500));
    assert_eq!(thread.join().unwrap(), 500);
}

#[test]
fn interpreters_are_reused_only_where_asked_and_until_flushed() {
    let fixture = logging("reuse");
    let bodies = |target: &str| (0..3).map(|_| text(&fixture.get(target))).collect::<Vec<_>>();
    assert_eq!(bodies("/app/count"), ["1", "1", "1"]);
    assert_eq!(bodies("/app/reused"), ["1", "2", "3"]);
    assert_eq!(text(&fixture.get("/app/other")), "1");
    let least = json!({ "max_cached_interpreters": 1 });
    fixture.put("public:ccf.gov.js_runtime_options", &[0; 8], least.to_string().as_bytes());
    assert_eq!(text(&fixture.get("/app/reused")), "1");
    assert_eq!(text(&fixture.get("/app/other")), "1");
    assert_eq!(text(&fixture.get("/app/other")), "2");
    fixture.put("public:ccf.gov.interpreter.flush", &[0; 8], b"true");
    assert_eq!(bodies("/app/reused"), ["1", "2", "3"]);
    fixture.install(
        "export function count() { return { body: 'new' }; }",
        &[("GET", "/count", endpoint("count"))],
    );
    assert_eq!(text(&fixture.get("/app/count")), "new");
    assert!(fixture.app.answer(&request(Method::GET, "/app/reused", "")).is_none());
}

#[test]
fn requests_for_one_reused_interpreter_do_not_wait_for_each_other() {
    if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
        return;
    }
    let fixture = logging("reuse-together");
    fixture.install(
        "let calls = 0; export function count() { return { body: String(++calls) }; }
         export function loop() { ++calls; while (true) {} }",
        &[
            ("GET", "/count", with(endpoint("count"), "interpreter_reuse", json!({ "key": "k" }))),
            ("GET", "/loop", with(endpoint("loop"), "interpreter_reuse", json!({ "key": "k" }))),
        ],
    );
    let options = json!({ "max_execution_time_ms": 1000 });
    fixture.put("public:ccf.gov.js_runtime_options", &[0; 8], options.to_string().as_bytes());
    let fixture = Arc::new(fixture);
    let looping = Arc::clone(&fixture);
    let thread = std::thread::spawn(move || looping.get("/app/loop").status.as_u16());
    std::thread::sleep(Duration::from_millis(100));
    // One after the other, so all have the same interpreter, until the one that looped is there to be used again.
    let mut answered = 0;
    while !thread.is_finished() && text(&fixture.get("/app/count")) == (answered + 1).to_string() {
        answered += 1;
    }
    assert_eq!(thread.join().unwrap(), 500);
    assert!(answered > 1, "they waited for the loop");
}

#[test]
fn shows_the_past_with_receipts() {
    let fixture = logging("past");
    let written = fixture.post("/app/log/7", "seven");
    let txid = written.headers["x-ms-ccf-transaction-id"].to_str().unwrap();
    let seqno = TxId::parse(txid).unwrap().seqno;
    let ask = |txid: &str| {
        fixture.ask(header_of(request(Method::GET, "/app/past", ""), "x-ms-ccf-transaction-id", txid))
    };
    assert_eq!(code(&ask("x")), "TransactionInvalid");
    assert_eq!(code(&ask("2.999999")), "TransactionPendingOrUnknown");
    assert!(fixture.node.sequencer().wait_committed(seqno, Duration::from_secs(10)));
    let past = ask(txid);
    assert_eq!(text(&past), format!("[\"{txid}\",true,true,false,\"seven\"]"));
    assert_eq!(code(&ask(&format!("1.{seqno}"))), "TransactionInvalid");
    assert_eq!(text(&fixture.get(&format!("/app/range/{seqno}/{seqno}"))), format!("[[\"{txid}\",1]]"));
    assert_eq!(text(&fixture.get("/app/range/1/99999")), "null");
    assert_eq!(fixture.get("/app/range/5/4").status, 500);
}

#[test]
fn concurrent_requests_conflict_and_are_run_again() {
    let source = "
        const key = ccf.strToBuf('n'), table = ccf.kv['public:counter'];
        export function increment() {
            const seen = table.get(key);
            const next = (seen === undefined ? 0 : Number(ccf.bufToStr(seen))) + 1;
            table.set(key, ccf.strToBuf(String(next)));
            return { body: next };
        }";
    let fixture = Arc::new(Fixture::new("conflict", source, &[("POST", "/inc", endpoint("increment"))]));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let fixture = Arc::clone(&fixture);
            std::thread::spawn(move || (0..50).filter(|_| fixture.post("/app/inc", "").status == 200).count())
        })
        .collect();
    let done: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(fixture.value("public:counter", "n").as_deref(), Some(done.to_string().as_bytes()));
    assert!(done > 100);
}
