//! What scripts do to the engine itself: nothing of it reaches the next call or the host.

use tallystick_js::app::{Failure, Machine};

use super::{TestHost, call_on, set, small, value_of};

#[test]
fn no_script_runs_while_a_native_throws() {
    // CCF's engine has none of these; through the last two a script would run inside of whatever throws.
    assert_eq!(
        value_of(
            "['captureStackTrace', 'isError', 'stackTraceLimit', 'prepareStackTrace'].filter((n) => n in Error)"
        ),
        "[]"
    );
    let source = "export function f() {
        const again = () => { ccf.kv['t'].size; return 'x'; };
        Error.prepareStackTrace = again;
        Error.stackTraceLimit = { valueOf: again };
        try { ccf.kv['public:ccf.x'].get(new ArrayBuffer(1)); } catch (e) { return { body: e.name }; }
    }";
    let mut machine = Machine::fresh(&set(&[("m.js", source)]), "/m.js", &small()).unwrap();
    assert_eq!(call_on(&mut machine, TestHost::default(), "").1.unwrap().body, b"TypeError");
}

#[test]
fn what_watches_the_evaluation_outlives_every_call() {
    // The accessor's native function must not be freed by a call: the next one finds it again.
    let source = "globalThis.kept = Object.getOwnPropertyDescriptor(globalThis, 'Date').get;
        export function f() {
            const date = kept();
            delete globalThis.kept;
            return { body: typeof date };
        }";
    let mut machine = Machine::fresh(&set(&[("m.js", source)]), "/m.js", &small()).unwrap();
    for _ in 0..50 {
        assert_eq!(call_on(&mut machine, TestHost::default(), "").1.unwrap().body, b"function");
    }
}

#[test]
fn traces_name_lines_as_ccf_does() {
    let source = "function inner() {\n  throw new Error('no');\n}\nexport function f() { inner(); }";
    let mut machine = Machine::fresh(&set(&[("m.js", source)]), "/m.js", &small()).unwrap();
    let Err(Failure::Exception { reason, trace }) = call_on(&mut machine, TestHost::default(), "").1 else {
        panic!("no exception")
    };
    assert_eq!(reason, "Error: no");
    assert_eq!(trace.unwrap(), "    at inner (/m.js:2)\n    at f (/m.js:4)\n");
}
