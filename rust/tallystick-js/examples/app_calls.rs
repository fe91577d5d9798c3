//! Time of one call of a small handler. Run with `cargo run --release --example app_calls`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to measure with")]
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tallystick_js::Budget;
use tallystick_js::api::Access;
use tallystick_js::app::{AppHost, AppRequest, Call, Data, HistoricalState, LogLevel, Machine, ModuleSet};

struct Nothing(Bytes);

impl AppHost for Nothing {
    fn access(&self, _: &str) -> Access {
        Access::ReadWrite
    }
    fn read_only(&self) -> bool {
        false
    }
    fn get(&mut self, _: &str, _: &[u8]) -> Option<Bytes> {
        Some(self.0.clone())
    }
    fn version(&mut self, _: &str, _: &[u8]) -> Option<u64> {
        None
    }
    fn size(&mut self, _: &str) -> usize {
        0
    }
    fn entries(&mut self, _: &str) -> Vec<(Bytes, Bytes)> {
        Vec::new()
    }
    fn write(&mut self, _: &str, _: Bytes, value: Option<Bytes>) {
        self.0 = value.unwrap_or_default();
    }
    fn clear(&mut self, _: &str) {}
    fn last_committed(&self) -> (u64, u64) {
        (2, 1)
    }
    fn status(&self, _: u64, _: u64) -> &'static str {
        "Unknown"
    }
    fn view_at(&self, _: u64) -> Option<u64> {
        None
    }
    fn historical(
        &mut self,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> Result<Option<Vec<Arc<HistoricalState>>>, String> {
        Ok(None)
    }
    fn drop_historical(&mut self, _: u64) -> bool {
        false
    }
    fn set_apply_writes(&mut self, _: bool) {}
    fn set_claims_digest(&mut self, _: [u8; 32]) {}
    fn log(&mut self, _: LogLevel, _: &str) {}
}

const SOURCE: &str = "
    const records = ccf.kv['records'];
    function id(request) { return ccf.strToBuf(request.query.split('=')[1]); }
    export function read(request) {
        const value = records.get(id(request));
        return value === undefined ? { statusCode: 404, body: {} } : { body: { msg: ccf.bufToStr(value) } };
    }
    export function write(request) {
        const { id, msg } = request.body.json();
        records.set(ccf.strToBuf(id.toString()), ccf.strToBuf(msg));
        return { body: true };
    }
    export function nothing() { return {}; }";

fn main() {
    const CALLS: u32 = 100_000;
    let modules = Arc::new(ModuleSet::new([("/log.js".to_owned(), Bytes::from_static(SOURCE.as_bytes()))]));
    let budget = Budget::default();
    let start = Instant::now();
    let mut machine = Machine::fresh(&modules, "/log.js", &budget).unwrap();
    println!("made in {:?}, image of {} bytes", start.elapsed(), machine.image_bytes());
    let request = AppRequest {
        headers: ["content-type", "host", "user-agent", "accept", "content-length"]
            .map(|name| (name.to_owned(), "application/json".to_owned()))
            .to_vec(),
        query: "id=42".into(),
        path: "/app/log".into(),
        method: "GET".into(),
        hostname: Some("localhost".into()),
        route: "/app/log".into(),
        url: "/app/log?id=42".into(),
        params: Vec::new(),
        body: Bytes::from_static(br#"{"id":42,"msg":"Hello world of twenty bytes"}"#),
        caller: Data::Object(vec![
            ("policy".into(), Data::Text("user_cert".into())),
            ("id".into(), Data::Text("0".repeat(64))),
            ("cert".into(), Data::Text("c".repeat(800))),
        ]),
    };
    for reused in [false, true] {
        if reused {
            machine = Machine::reusable(&modules, &budget).unwrap();
        }
        for function in ["nothing", "read", "write"] {
            let call =
                Call { module: "/log.js", function, request: &request, historical: None, budget: &budget };
            let start = Instant::now();
            for _ in 0..CALLS {
                machine.call(Nothing(Bytes::from_static(b"Hello world")), &call).outcome.unwrap();
            }
            println!(
                "{function}, {}: {:?}",
                if reused { "reused" } else { "fresh" },
                start.elapsed() / CALLS
            );
        }
    }
}
