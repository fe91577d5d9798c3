//! Bounds on what the engine's own functions may do in one step.
//!
//! The engine asks once in ten thousand steps of a script whether it is late. A search of a string is one step, and so is
//! a pass over an array, however long they take. Functions that work in place ask at each call; those that allocate
//! are stopped by the arena. Searches for a string are naive in this engine, so their cost is bounded beforehand.
//!
//! What remains after the deadline is one step of the slowest kind, seconds: the text of the largest `BigInt`, a search at
//! [`MAX_SEARCH_STEPS`]. And the operators of the language are asked by nobody: a loop that compares strings of megabytes
//! goes on for ten thousand of them. Arrays inside an array that is flattened, and proxies of arrays, are not measured.
use rquickjs::{Ctx, Function, Object, Result, Value};

use crate::api::native;

/// Most comparisons of characters that one search may come to: about a second of work. Ten characters may be searched
/// for in fifty million, a thousand in half a million.
const MAX_SEARCH_STEPS: f64 = 536_870_912.0;

/// Longest array that functions take which visit every index in one step: what is longer has more holes than elements that
/// a heap could hold.
const MAX_ELEMENTS: f64 = 16_777_216.0;

/// Puts functions that ask first before those of the engine. What it needs is taken before any script runs.
const BOUNDS: &str = "(({ check }, mostSteps, mostElements, { apply }, Object, RangeError) => {
    const { defineProperty, getOwnPropertyDescriptor, getPrototypeOf } = Object;
    const bound = (holder, name, prepare) => {
        const original = holder[name], length = original.length;
        const { [name]: bounded } = {
            [name](...given) {
                check();
                return apply(original, prepare === undefined ? this : prepare(this, given), given);
            },
        };
        defineProperty(bounded, 'length', { value: length, configurable: true });
        defineProperty(holder, name, { value: bounded, writable: true, configurable: true });
    };
    const { isArray } = Array, typedArrays = getPrototypeOf(Uint8Array.prototype);
    const typedLength = getOwnPropertyDescriptor(typedArrays, 'length').get;
    // The length of what only looks like an array, unless it may be another the next time.
    const lengthOf = (value) => {
        for (let holder = value; holder !== null; holder = getPrototypeOf(holder)) {
            const found = getOwnPropertyDescriptor(holder, 'length');
            if (found === undefined) continue;
            if (found.get === typedLength) return apply(typedLength, value, []);
            return 'value' in found && typeof found.value !== 'object' ? found.value : Infinity;
        }
        return 0;
    };
    const short = (value) => {
        if (typeof value !== 'object' || value === null) return value;
        const length = isArray(value) ? value.length : lengthOf(value);
        if (length > mostElements) throw new RangeError('the array is too long');
        return value;
    };
    const walks = ['copyWithin', 'fill', 'flat', 'flatMap', 'join', 'reverse', 'shift', 'sort', 'splice',
        'toLocaleString', 'unshift'];
    for (const name of walks) bound(Array.prototype, name, short);
    for (const name of ['includes', 'indexOf', 'lastIndexOf']) bound(Array.prototype, name);
    for (const name of ['copyWithin', 'fill', 'includes', 'indexOf', 'lastIndexOf', 'reverse', 'set', 'sort']) {
        bound(typedArrays, name);
    }
    const { isConcatSpreadable, match, replace, split } = Symbol;
    bound(Array.prototype, 'concat', (self, given) => {
        for (let at = -1; at < given.length; at++) {
            const value = at < 0 ? self : given[at];
            if (value === null || typeof value !== 'object') continue;
            const spread = value[isConcatSpreadable];
            if (!(spread === undefined ? isArray(value) : spread)) continue;
            const { length } = value;
            if (length > mostElements) throw new RangeError('the array is too long');
            // An array has the length that it says; what only looks like one may say another the next time.
            if (spread === undefined) continue;
            const copy = [];
            for (let index = 0; index < length; index++) if (index in value) copy[index] = value[index];
            if (length > 0) copy.length = length;
            if (at < 0) self = copy; else given[at] = copy;
        }
        return self;
    });
    const searches = [['includes', match], ['indexOf'], ['lastIndexOf'], ['replace', replace],
        ['replaceAll', replace], ['split', split]];
    for (const [name, method] of searches) bound(String.prototype, name, (self, given) => {
        let sought = given[0];
        if (self === undefined || self === null || sought === undefined || sought === null) return self;
        if (typeof sought === 'object' || typeof sought === 'function') {
            if (method !== undefined && sought[method] !== undefined && sought[method] !== null) return self;
            given[0] = sought = `${sought}`;
        }
        if (typeof sought !== 'string') return self;
        const text = typeof self === 'string' ? self : `${self}`;
        if (sought.length * (text.length - sought.length) > mostSteps) throw new RangeError('the search is too long');
        return text;
    });
})";

/// Installs the bounds.
///
/// # Errors
/// Any of the engine: no memory.
pub(super) fn install(ctx: &Ctx<'_>) -> Result<()> {
    let natives = Object::new(ctx.clone())?;
    native(ctx, &natives, "check", 0, |ctx, _| Ok(Value::new_undefined(ctx.clone())))?;
    let globals = ctx.globals();
    let taken = |name: &str| globals.get::<_, Value<'_>>(name);
    ctx.eval::<Function<'_>, _>(BOUNDS)?.call::<_, ()>((
        natives,
        MAX_SEARCH_STEPS,
        MAX_ELEMENTS,
        taken("Reflect")?,
        taken("Object")?,
        taken("RangeError")?,
    ))
}
