//! What scripts do to the engine itself: nothing of it reaches the next call or the host.

use std::time::{Duration, Instant};

use tallystick_js::Budget;
use tallystick_js::app::{Failure, Machine};

use super::{TestHost, call_on, call_within, set, small, thrown, value_of};

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

#[test]
fn long_steps_end_with_the_time() {
    // Each of these would go on for minutes if the engine were asked once in ten thousand steps only.
    let budget = Budget { heap_bytes: 100 << 20, time: Duration::from_millis(200), ..small() };
    for loop_body in [
        "try { ccf.crypto.generateRsaKeyPair(2048); } catch {}",
        "try { ccf.crypto.digest('SHA-256', bytes.buffer); } catch {}",
        "bytes.fill(1);",
        "bytes.indexOf(7);",
        "try { JSON.parse(list); } catch {}",
        "try { [...bytes.subarray(0, 1e6)]; } catch {}",
        "try { list.split(','); } catch {}",
        "try { list.indexOf('2'); } catch {}",
        "text.toUpperCase();",
    ] {
        let source = format!(
            "export function f() {{
                const bytes = new Uint8Array(2e7), list = '[' + '1,'.repeat(1e6) + '1]', text = 'x'.repeat(1e7);
                for (;;) {{ {loop_body} }}
            }}"
        );
        let mut machine = Machine::fresh(&set(&[("m.js", &source)]), "/m.js", &budget).unwrap();
        let start = Instant::now();
        let outcome = call_within(&mut machine, TestHost::default(), "", budget).1;
        assert_eq!(outcome, Err(Failure::TimedOut), "{loop_body}");
        assert!(start.elapsed() < Duration::from_secs(20), "{loop_body}");
    }
}

#[test]
fn refuses_what_cannot_be_done_in_time() {
    for statement in [
        "'a'.repeat(1e6).indexOf('a'.repeat(5e5) + 'b')",
        "'a'.repeat(1e6).split({ toString: () => 'a'.repeat(5e5) + 'b' })",
        "new String('a'.repeat(1e6)).replaceAll('a'.repeat(5e5) + 'b', '')",
    ] {
        assert_eq!(thrown(statement), "RangeError: the search is too long", "{statement}");
    }
    for statement in [
        "const a = []; a.length = 2 ** 32 - 1; [].concat(a);",
        "[].concat({ length: 2 ** 53 - 1, [Symbol.isConcatSpreadable]: true });",
        "const a = []; a.length = 2 ** 32 - 1; a.sort();",
        "[].fill.call(Object.defineProperty(new Uint8Array(1), 'length', { value: 2 ** 53 - 1 }), 1);",
        "[].reverse.call({ length: 2 ** 53 - 1 });",
        "let n = 0; [].join.call({ get length() { return n++ ? 2 ** 53 - 1 : 0; } }, '');",
        "let n = 0; [].flat.call({ length: { valueOf: () => n++ ? 2 ** 53 - 1 : 0 } });",
        "Array.prototype.concat.call({ length: 2 ** 53 - 1, [Symbol.isConcatSpreadable]: true });",
    ] {
        assert_eq!(thrown(statement), "RangeError: the array is too long", "{statement}");
    }
}

#[test]
fn bounded_functions_do_what_the_language_says() {
    for (expression, expected) in [
        (
            "[].concat(1, [2, [3]], { length: 3, 0: 'a', 2: 'c', [Symbol.isConcatSpreadable]: true })",
            "[1,2,[3],\"a\",null,\"c\"]",
        ),
        ("1 in [].concat({ length: 2, 0: 1, [Symbol.isConcatSpreadable]: true })", "false"),
        ("[].concat(Object.assign([1, 2], { [Symbol.isConcatSpreadable]: false })).length", "1"),
        (
            "[[3, 1, 2].sort(), [3, 1, 2].sort((a, b) => b - a), [1, 2].includes(2), [1, 2].indexOf(3)]",
            "[[1,2,3],[3,2,1],true,-1]",
        ),
        (
            "[[].join.call({ length: 2, 0: 'a', 1: 'b' }), [].join.call('ab'), [].sort.call(Uint8Array.of(2, 1)).length, [].reverse.call({ length: 2, 0: 1 })[1]]",
            "[\"a,b\",\"a,b\",2,1]",
        ),
        (
            "[[[1], [2]].flat(), [1, 2].flatMap((x) => [x, x]), String([1, [2]]), [1, 2].splice(0, 1), [].join.call({})]",
            "[[1,2],[1,1,2,2],\"1,2\",[1],\"\"]",
        ),
        ("Array.from(Uint8Array.of(3, 1, 2).sort().reverse())", "[3,2,1]"),
        (
            "['a,b'.split(','), 'a1b2'.split(/[0-9]/), 'abc'.split('', 2), 'abc'.split()]",
            "[[\"a\",\"b\"],[\"a\",\"b\",\"\"],[\"a\",\"b\"],[\"abc\"]]",
        ),
        (
            "['aba'.replace('a', '$&x'), 'aba'.replaceAll('a', (m, at) => at), 'aba'.replace(/a/g, 'c')]",
            "[\"axba\",\"0b2\",\"cbc\"]",
        ),
        (
            "['aba'.indexOf('a', 1), 'aba'.lastIndexOf('a'), 'undefined'.indexOf(), '1null'.indexOf(null), '12'.includes(2)]",
            "[2,2,0,1,true]",
        ),
        (
            "['x'.split({ [Symbol.split]: (text) => text + 'y' }), String.prototype.indexOf.call(121, 2)]",
            "[\"xy\",1]",
        ),
        (
            "[[].concat.name, [].concat.length, [].indexOf.length, ''.replace.name, Uint8Array.prototype.set.length]",
            "[\"concat\",1,1,\"replace\",1]",
        ),
        ("Object.keys(Array.prototype).length + Object.keys(String.prototype).length", "0"),
    ] {
        assert_eq!(value_of(expression), expected, "{expression}");
    }
    assert!(thrown("'a'.includes(/a/)").starts_with("TypeError"));
    assert!(thrown("'a'.replaceAll(/a/, '')").starts_with("TypeError"));
    assert!(thrown("String.prototype.indexOf.call(null, 'a')").starts_with("TypeError"));
    assert!(thrown("'a'.indexOf(Symbol())").starts_with("TypeError"));
    assert!(thrown("new ([].concat)()").starts_with("TypeError"));
}
