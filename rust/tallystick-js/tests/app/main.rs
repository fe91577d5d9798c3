//! Handlers of applications: what they see, what they may do, and what they cannot leave behind.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test may panic"
)]
mod crypto;
mod lasting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tallystick_js::Budget;
use tallystick_js::api::Access;
use tallystick_js::app::{
    AppHost, AppReply, AppRequest, Call, Data, Executed, Failure, HistoricalState, LogLevel, Machine,
    ModuleSet,
};

#[derive(Default)]
struct TestHost {
    tables: BTreeMap<String, BTreeMap<Bytes, Bytes>>,
    log: Vec<(LogLevel, String)>,
    read_only: bool,
    apply: Option<bool>,
    claims: Option<[u8; 32]>,
}

impl AppHost for TestHost {
    fn access(&self, table: &str) -> Access {
        match table.strip_prefix("public:ccf.") {
            Some(rest) if rest.starts_with("gov.") || rest.starts_with("internal.") => Access::ReadOnly,
            Some(_) => Access::Inaccessible,
            None if self.read_only => Access::ReadOnly,
            None => Access::ReadWrite,
        }
    }
    fn read_only(&self) -> bool {
        self.read_only
    }
    fn get(&mut self, table: &str, key: &[u8]) -> Option<Bytes> {
        self.tables.get(table)?.get(key).cloned()
    }
    fn version(&mut self, table: &str, key: &[u8]) -> Option<u64> {
        self.get(table, key).map(|_| 7)
    }
    fn size(&mut self, table: &str) -> usize {
        self.tables.get(table).map_or(0, BTreeMap::len)
    }
    fn entries(&mut self, table: &str) -> Vec<(Bytes, Bytes)> {
        self.tables
            .get(table)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
    fn write(&mut self, table: &str, key: Bytes, value: Option<Bytes>) {
        let table = self.tables.entry(table.to_owned()).or_default();
        match value {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
    }
    fn clear(&mut self, table: &str) {
        self.tables.remove(table);
    }
    fn last_committed(&self) -> (u64, u64) {
        (2, 17)
    }
    fn status(&self, view: u64, seqno: u64) -> &'static str {
        if (view, seqno) == (2, 17) { "Committed" } else { "Unknown" }
    }
    fn view_at(&self, seqno: u64) -> Option<u64> {
        (seqno < 20).then_some(2)
    }
    fn historical(
        &mut self,
        _: u64,
        first: u64,
        last: u64,
        _: u64,
    ) -> Result<Option<Vec<Arc<HistoricalState>>>, String> {
        if last < first {
            return Err("Invalid range".to_owned());
        }
        Ok((last < 10).then(|| (first..=last).map(|seqno| Arc::new(past(seqno))).collect()))
    }
    fn drop_historical(&mut self, handle: u64) -> bool {
        handle == 1
    }
    fn set_apply_writes(&mut self, apply: bool) {
        self.apply = Some(apply);
    }
    fn set_claims_digest(&mut self, digest: [u8; 32]) {
        self.claims = Some(digest);
    }
    fn log(&mut self, level: LogLevel, text: &str) {
        self.log.push((level, text.to_owned()));
    }
}

fn past(seqno: u64) -> HistoricalState {
    let value = Bytes::from(seqno.to_string());
    let table =
        BTreeMap::from([(Bytes::from_static(b"k"), Some(value)), (Bytes::from_static(b"gone"), None)]);
    HistoricalState {
        transaction_id: format!("2.{seqno}"),
        receipt: format!("{{\"node_id\":\"n{seqno}\"}}"),
        tables: BTreeMap::from([("records".to_owned(), table)]),
    }
}

fn request(body: &str) -> AppRequest {
    AppRequest {
        headers: vec![("x-one".into(), "1".into())],
        query: "a=b".into(),
        path: "/app/log/3".into(),
        method: "POST".into(),
        hostname: None,
        route: "/app/log/{id}".into(),
        url: "/app/log/3?a=b".into(),
        params: vec![("id".into(), "3".into())],
        body: Bytes::copy_from_slice(body.as_bytes()),
        caller: Data::Object(vec![("policy".into(), Data::Text("no_auth".into()))]),
    }
}

fn set(modules: &[(&str, &str)]) -> Arc<ModuleSet> {
    Arc::new(ModuleSet::new(
        modules.iter().map(|(name, text)| ((*name).to_owned(), Bytes::copy_from_slice(text.as_bytes()))),
    ))
}

fn small() -> Budget {
    Budget { heap_bytes: 8 << 20, stack_bytes: 256 << 10, time: Duration::from_millis(300) }
}

fn call_on(machine: &mut Machine, host: TestHost, body: &str) -> (TestHost, Result<AppReply, Failure>) {
    call_within(machine, host, body, small())
}

fn call_within(
    machine: &mut Machine,
    host: TestHost,
    body: &str,
    budget: Budget,
) -> (TestHost, Result<AppReply, Failure>) {
    let request = request(body);
    let call = Call { module: "/m.js", function: "f", request: &request, historical: None, budget: &budget };
    let Executed { host, outcome, .. } = machine.call(host, &call);
    (host.unwrap(), outcome)
}

fn run(source: &str, body: &str) -> (TestHost, Result<AppReply, Failure>) {
    let mut machine = Machine::fresh(&set(&[("m.js", source)]), "/m.js", &small()).unwrap();
    // Finding primes takes its time.
    let budget = Budget { time: Duration::from_secs(30), ..small() };
    call_within(&mut machine, TestHost::default(), body, budget)
}

/// The JSON body that `expression` gives inside a handler.
fn value_of(expression: &str) -> String {
    let (_, outcome) =
        run(&format!("export function f(request) {{ return {{ body: {expression} }}; }}"), "[1, 2]");
    String::from_utf8(outcome.unwrap().body).unwrap()
}

/// The message that `statements` throw inside a handler.
fn thrown(statements: &str) -> String {
    value_of(&format!(
        "(() => {{ try {{ {statements} }} catch (e) {{ return e.name + ': ' + e.message; }} return ''; }})()"
    ))
}

#[test]
fn shows_the_request() {
    assert_eq!(
        value_of(
            "[request.headers, request.query, request.path, request.method, request.hostname, request.route, request.url, request.params, request.caller]"
        ),
        r#"[{"x-one":"1"},"a=b","/app/log/3","POST",null,"/app/log/{id}","/app/log/3?a=b",{"id":"3"},{"policy":"no_auth"}]"#
    );
    assert_eq!(value_of("request.body.json()"), "[1,2]");
    assert_eq!(value_of("request.body.text()"), "[1, 2]");
    assert_eq!(value_of("request.body.arrayBuffer().byteLength"), "6");
}

#[test]
fn reads_the_answer() {
    let reply = |source: &str| run(&format!("export const f = () => ({source})"), "").1;
    let ok = |source: &str| reply(source).unwrap();
    assert_eq!(ok("{}"), AppReply { status: 200, ..AppReply::default() });
    assert_eq!(
        (ok("{ body: null }").body, ok("{ body: null }").content_type),
        (b"null".to_vec(), Some("application/json"))
    );
    assert_eq!(ok("{ body: 'é' }").body, "é".as_bytes());
    assert_eq!(ok("{ body: new Uint8Array([1, 2, 3, 4]).subarray(1, 3) }").body, [2, 3]);
    assert_eq!(ok("{ body: new Uint16Array([1, 2]).buffer }").body, [1, 0, 2, 0]);
    assert_eq!(ok("{ body: 1 }").content_type, Some("application/json"));
    let full = ok("{ statusCode: 404, headers: { 'X-A': 1, b: 'c' } }");
    assert_eq!(
        (full.status, full.headers),
        (404, vec![("X-A".into(), "1".into()), ("b".into(), "c".into())])
    );
    // The engine keeps what it parses as floating point: whole all the same.
    assert_eq!(ok(r#"JSON.parse('{ "statusCode": 202 }')"#).status, 202);
    let message = |source: &str| match reply(source) {
        Err(Failure::BadReply { message, .. }) => message,
        other => panic!("{source}: {other:?}"),
    };
    assert!(message("1").contains("not an object"));
    assert!(message("undefined").contains("not an object"));
    assert!(message("{ statusCode: 200.5 }").contains("status code type"));
    assert!(message("{ statusCode: '200' }").contains("status code type"));
    assert!(message("{ statusCode: 1e300 }").contains("status code type"));
    assert!(message("{ statusCode: NaN }").contains("status code type"));
    assert!(message("{ body: { toJSON() { throw 1; } } }").contains("JSON conversion"));
    assert!(message("{ body: () => 1 }").contains("JSON conversion"));
    assert!(message("{ get body() { throw new Error('no'); } }").contains("error reading body"));
    assert_eq!(run("export const f = async () => ({ body: 'later' })", "").1.unwrap().body, b"later");
}

#[test]
fn reads_and_writes_tables() {
    let source = "
        const k = ccf.strToBuf('k'), v = ccf.strToBuf('v');
        export function f() {
            const t = ccf.kv['records'];
            const seen = [t.size, t.has(k), t.get(k) === undefined, t.set(k, v) === t, t.size, t.has(k), ccf.bufToStr(t.get(k)),
                t.getVersionOfPreviousWrite(k)];
            t.forEach((value, key, map) => seen.push(ccf.bufToStr(key) + ccf.bufToStr(value) + (map === t)));
            t.set(ccf.strToBuf('b'), v);
            seen.push(t.delete(ccf.strToBuf('b')) === undefined);
            return { body: seen };
        }";
    let (host, outcome) = run(source, "");
    assert_eq!(
        String::from_utf8(outcome.unwrap().body).unwrap(),
        r#"[0,false,true,true,1,true,"v",7,"kvtrue",true]"#
    );
    assert_eq!(host.tables["records"].len(), 1);
    assert_eq!(thrown("ccf.kv.t.get('x')"), "TypeError: Argument must be an ArrayBuffer");
    assert_eq!(thrown("ccf.kv.t.get(new Uint8Array(1))"), "TypeError: Argument must be an ArrayBuffer");
    assert_eq!(thrown("ccf.kv.t.get()"), "TypeError: Passed 0 arguments, but expected 1");
    assert_eq!(thrown("ccf.kv.t.set(1, 2)"), "TypeError: Arguments must be ArrayBuffers");
    assert_eq!(thrown("ccf.kv.t.forEach(1)"), "TypeError: Argument must be a function");
    assert_eq!(
        thrown("const g = ccf.kv.t.get; g(ccf.strToBuf('a'))"),
        "TypeError: Internal: No map name stored on handle"
    );
    assert!(
        thrown("ccf.kv['public:ccf.gov.users.info'].clear()").starts_with(
            "TypeError: Cannot call \"clear\" on table named public:ccf.gov.users.info. This table is read-only in current (application) execution context. See https://"
        )
    );
    assert!(thrown("ccf.kv['public:ccf.other'].size").contains("This table is inaccessible"));
    let stopped = thrown(
        "ccf.kv.t.set(ccf.strToBuf('a'), ccf.strToBuf('b')); ccf.kv.t.forEach(() => { throw new Error('stop') })",
    );
    assert_eq!(stopped, "Error: stop");
}

#[test]
fn offers_consensus_rpc_history_and_console() {
    assert_eq!(value_of("ccf.consensus.getLastCommittedTxId()"), r#"{"view":2,"seqno":17}"#);
    assert_eq!(
        value_of(
            "[ccf.consensus.getStatusForTxId(2, 17), ccf.consensus.getViewForSeqno(3), ccf.consensus.getViewForSeqno(99)]"
        ),
        r#"["Committed",2,null]"#
    );
    assert_eq!(value_of("ccf.historical.getStateRange(1, 1, 50, 100)"), "null");
    assert_eq!(value_of("ccf.historical.dropCachedStates(1)"), "true");
    assert!(thrown("ccf.historical.getStateRange(1, -1, 50, 100)").starts_with("RangeError"));
    assert!(thrown("ccf.historical.getStateRange(1, 3, 2, 100)").starts_with("InternalError: Invalid range"));
    let states = "ccf.historical.getStateRange(1, 3, 4, 100).map((s) => [s.transactionId, s.receipt.node_id, ccf.bufToStr(s.kv['records'].get(ccf.strToBuf('k'))), s.kv.records.size, s.kv.records.has(ccf.strToBuf('gone')), s.kv.other.size, s.kv.records.getVersionOfPreviousWrite(ccf.strToBuf('k'))])";
    assert_eq!(value_of(states), r#"[["2.3","n3","3",1,false,0,3],["2.4","n4","4",1,false,0,4]]"#);
    assert_eq!(
        thrown("ccf.historical.getStateRange(1, 3, 3, 1)[0].kv.records.clear()"),
        "TypeError: All tables are read-only during historical transaction."
    );
    let (host, outcome) = run(
        "export function f() { console.log('a', 1); console.warn('b'); console.error({}); ccf.rpc.setApplyWrites(false); ccf.rpc.setClaimsDigest(ccf.crypto.digest('SHA-256', ccf.strToBuf('x'))); return {}; }",
        "",
    );
    outcome.unwrap();
    assert_eq!(
        host.log,
        [
            (LogLevel::Info, "a 1".into()),
            (LogLevel::Fail, "b".into()),
            (LogLevel::Fatal, "[object Object]".into())
        ]
    );
    assert_eq!((host.apply, host.claims.is_some()), (Some(false), true));
    assert_eq!(
        thrown("ccf.rpc.setClaimsDigest(new ArrayBuffer(3))"),
        "TypeError: Argument must be an ArrayBuffer of the right size"
    );
    assert_eq!(
        value_of(
            "[ccf.enableUntrustedDateTime(true), ccf.enableMetricsLogging(false), ccf.enableMetricsLogging(true)]"
        ),
        "[true,true,false]"
    );
    assert_eq!(thrown("ccf.enableMetricsLogging(1)"), "TypeError: First argument must be a boolean");
}

#[test]
fn loads_modules_by_path() {
    let modules = set(&[
        (
            "m.js",
            "import { a } from './lib/a.js'; import * as b from 'lib/b.js'; export async function f() { const c = await import('/lib/c.js'); return { body: [a, b.b, c.default] }; }",
        ),
        ("/lib/a.js", "import { b } from './b.js'; export const a = 'a' + b;"),
        ("/lib/b.js", "export const b = 'b';"),
        ("/lib/c.js", "import { a } from '../lib/a.js'; export default 'c' + a;"),
    ]);
    let mut machine = Machine::fresh(&modules, "/m.js", &small()).unwrap();
    for _ in 0..2 {
        let (_, outcome) = call_on(&mut machine, TestHost::default(), "");
        assert_eq!(String::from_utf8(outcome.unwrap().body).unwrap(), r#"["ab","b","cab"]"#);
    }
}

#[test]
fn says_why_a_module_does_not_load() {
    let reason = |modules: &[(&str, &str)]| match Machine::fresh(&set(modules), "/m.js", &small()) {
        Err(Failure::Exception { reason, .. }) => reason,
        Ok(mut machine) => match call_on(&mut machine, TestHost::default(), "").1 {
            Err(Failure::Exception { reason, .. }) => reason,
            other => panic!("{other:?}"),
        },
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(reason(&[]), "Module '/m.js' could not be loaded");
    assert!(
        reason(&[("/m.js", "export function (")])
            .starts_with("Failed to compile module '/m.js': SyntaxError")
    );
    assert!(
        reason(&[("/m.js", "import './x.js'")])
            .starts_with("Failed to resolve dependencies for module '/m.js': ")
    );
    assert!(
        reason(&[("/m.js", "import './x.js'"), ("/x.js", "export (")])
            .starts_with("Failed to resolve dependencies")
    );
    assert!(
        reason(&[("/m.js", "throw new Error('top')")]).starts_with("Failed to execute /m.js: Error: top")
    );
    assert_eq!(reason(&[("/m.js", "export const g = 1")]), "Failed to find export 'f' in module '/m.js'");
    assert_eq!(reason(&[("/m.js", "export const f = 1")]), "Export 'f' of module '/m.js' is not a function");
}

#[test]
fn a_fresh_interpreter_keeps_nothing() {
    let source = "
        let count = 0;
        const cache = new Map();
        export function f() {
            const seen = [++count, cache.size, globalThis.leak, Object.prototype.leak, Array.prototype.map === undefined,
                typeof ccf.strToBuf, ccf.extra];
            cache.set(1, 1);
            globalThis.leak = 1;
            Object.prototype.leak = 1;
            delete Array.prototype.map;
            ccf.strToBuf = 1;
            ccf.extra = 1;
            Promise.resolve().then(() => { globalThis.later = 1; });
            JSON.stringify = () => 'x';
            return { body: seen };
        }";
    let mut machine = Machine::fresh(&set(&[("m.js", source)]), "/m.js", &small()).unwrap();
    let bodies: Vec<Vec<u8>> =
        (0..3).map(|_| call_on(&mut machine, TestHost::default(), "").1.unwrap().body).collect();
    assert_eq!(String::from_utf8_lossy(&bodies[0]), r#"[1,0,null,null,false,"function",null]"#);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[test]
fn a_reused_interpreter_keeps_its_globals_and_sees_each_request() {
    let source = "
        let count = 0;
        const table = ccf.kv['t'];
        export function f(request) { table.set(ccf.strToBuf('k'), request.body.arrayBuffer()); return { body: [++count, request.body.text()] }; }";
    let mut machine = Machine::reusable(&set(&[("m.js", source)]), &small()).unwrap();
    for (turn, body) in ["a", "b", "c"].into_iter().enumerate() {
        let (host, outcome) = call_on(&mut machine, TestHost::default(), body);
        assert_eq!(String::from_utf8(outcome.unwrap().body).unwrap(), format!("[{},\"{body}\"]", turn + 1));
        assert_eq!(host.tables["t"][b"k".as_slice()], body.as_bytes());
    }
}

#[test]
fn a_top_level_that_cannot_be_repeated_runs_for_every_call() {
    for (source, expected) in [
        ("console.log('loaded'); export function f() { return { body: 1 }; }", 1),
        ("const t = ccf.kv.t.size; export function f() { return { body: t }; }", 0),
        ("const r = Math.random(); export function f() { return { body: r }; }", 0),
        ("const d = Date.now(); export function f() { return { body: d }; }", 0),
    ] {
        let mut machine = Machine::fresh(&set(&[("m.js", source)]), "/m.js", &small()).unwrap();
        let mut bodies = Vec::new();
        for _ in 0..2 {
            let mut host = TestHost::default();
            host.write("t", Bytes::from(vec![1; bodies.len()]), Some(Bytes::new()));
            for _ in 0..bodies.len() {
                host.write("t", Bytes::from_static(b"more"), Some(Bytes::new()));
            }
            let (host, outcome) = call_on(&mut machine, host, "");
            bodies.push(outcome.unwrap().body);
            assert_eq!(host.log.len(), expected, "{source}");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(expected == 1 || bodies[0] != bodies[1], "{source}");
    }
    let mut machine = Machine::fresh(&set(&[("m.js", "export const f = () => ({ body: [Math.random(), Date.now() > 1e12, Object.getOwnPropertyDescriptor(globalThis, 'Date').writable] })")]), "/m.js", &small()).unwrap();
    let first = call_on(&mut machine, TestHost::default(), "").1.unwrap().body;
    assert_ne!(
        first,
        call_on(&mut machine, TestHost::default(), "").1.unwrap().body,
        "the image holds no random state"
    );
    assert!(String::from_utf8(first).unwrap().ends_with(",true,true]"));
}

#[test]
fn stops_hostile_scripts_and_serves_the_next_call() {
    let modules = set(&[(
        "m.js",
        "export function f(request) {
            switch (request.body.text()) {
                case 'loop': for (;;);
                case 'recursion': return (function g() { return g() + 1; })();
                case 'heap': { const a = []; for (;;) a.push('x'.repeat(1e5) + a.length); }
                case 'caught': for (;;) { try { for (;;); } catch (e) {} finally { for (;;); } }
                case 'regexp': return { body: /(a+)+b/.test('a'.repeat(50)) };
                case 'throw': throw null;
                case 'symbol': throw Symbol('s');
                case 'hostile error': throw { toString() { for (;;); }, toJSON() { for (;;); } };
                case 'proxy': return new Proxy({}, { get() { for (;;); } });
                case 'headers': return { headers: new Proxy({}, { ownKeys() { for (;;); } }) };
                case 'string': return { body: { toJSON() { for (;;); } } };
                default: return { body: 'fine' };
            }
        }",
    )]);
    let mut machine = Machine::fresh(&modules, "/m.js", &small()).unwrap();
    for kind in [
        "loop",
        "recursion",
        "heap",
        "caught",
        "regexp",
        "throw",
        "symbol",
        "hostile error",
        "proxy",
        "headers",
        "string",
    ] {
        let start = Instant::now();
        let (_, outcome) = call_on(&mut machine, TestHost::default(), kind);
        let failure = outcome.expect_err(kind);
        match kind {
            "recursion" => assert!(format!("{failure:?}").contains("stack"), "{failure:?}"),
            // When not even the exception finds room, the engine throws null.
            "heap" => {
                assert!(["out of memory", "null"].iter().any(|text| format!("{failure:?}").contains(text)))
            }
            "throw" => assert_eq!(failure, Failure::Exception { reason: "null".into(), trace: None }),
            "symbol" => assert!(matches!(failure, Failure::Exception { .. })),
            _ => assert_eq!(failure, Failure::TimedOut, "{kind}"),
        }
        assert!(start.elapsed() < Duration::from_secs(3), "{kind}");
        assert_eq!(call_on(&mut machine, TestHost::default(), "").1.unwrap().body, b"fine", "after {kind}");
    }
}

#[test]
fn limits_too_small_for_anything_fail_in_words() {
    let source = "function deep(n) { return n === 0 ? 0 : deep(n - 1) + 1; }
        export function f(request) { return { body: deep(Number(request.body.text())) }; }";
    let mut machine = Machine::fresh(&set(&[("m.js", source)]), "/m.js", &small()).unwrap();
    for budget in [
        Budget { stack_bytes: 100, ..small() },
        Budget { stack_bytes: 0, ..small() },
        Budget { heap_bytes: 100, ..small() },
        Budget { heap_bytes: 1, ..small() },
        Budget { time: Duration::ZERO, ..small() },
    ] {
        let (_, outcome) = call_within(&mut machine, TestHost::default(), "1", budget);
        match outcome {
            Err(Failure::TimedOut) => assert_eq!(budget.time, Duration::ZERO),
            Err(Failure::Exception { .. }) => {}
            Ok(_) => assert_eq!(budget.stack_bytes, 0, "{budget:?}"),
            other => panic!("{budget:?}: {other:?}"),
        }
        assert_eq!(call_on(&mut machine, TestHost::default(), "3").1.unwrap().body, b"3");
    }
    let deep = call_within(&mut machine, TestHost::default(), "100000", small()).1;
    assert!(
        matches!(deep, Err(Failure::Exception { reason, .. }) if reason == "InternalError: stack overflow")
    );
}

#[test]
fn an_interpreter_may_change_threads() {
    let source =
        "export function f() { return { body: (function g(n) { return n ? g(n - 1) + 1 : 0; })(300) }; }";
    let mut machine = Machine::fresh(&set(&[("m.js", source)]), "/m.js", &small()).unwrap();
    for _ in 0..3 {
        machine = std::thread::spawn(move || {
            assert_eq!(call_on(&mut machine, TestHost::default(), "").1.unwrap().body, b"300");
            machine
        })
        .join()
        .unwrap();
    }
}
