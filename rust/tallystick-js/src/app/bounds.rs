//! Bounds on what the engine's own functions may do in one step.
//!
//! The engine asks once in ten thousand steps of a script whether it is late. A search of a string is one step, and so is
//! a pass over an array, however long they take. Functions that work in place ask at each call; those that allocate
//! are stopped by the arena. Searches for a string are naive in this engine, so their cost is bounded beforehand.
//!
//! What remains after the deadline is one step of the slowest kind, seconds: the text of the largest `BigInt`, a search at
//! [`MAX_SEARCH_STEPS`]. And the operators of the language are asked by nobody: a loop that compares strings of megabytes
//! goes on for ten thousand of them.
use rquickjs::{Ctx, Function, Object, Result, Value};

use crate::api::native;

/// Most comparisons of characters that one search may come to: about a second of work. Ten characters may be searched
/// for in fifty million, a thousand in half a million.
const MAX_SEARCH_STEPS: f64 = 536_870_912.0;

/// Longest array that `concat` takes: what is longer has more holes than elements that a heap could hold, and the engine
/// visits each of them in the same step.
const MAX_CONCAT_LENGTH: f64 = 16_777_216.0;

/// Puts functions that ask first before those of the engine. What it needs is taken before any script runs.
const BOUNDS: &str = "(({ check }, mostSteps, mostElements, { apply }, { defineProperty, getPrototypeOf }, RangeError) => {
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
    const arrays = [Array.prototype, getPrototypeOf(Uint8Array.prototype)];
    for (const holder of arrays) {
        for (const name of ['copyWithin', 'fill', 'includes', 'indexOf', 'lastIndexOf', 'reverse', 'sort']) {
            bound(holder, name);
        }
    }
    bound(arrays[1], 'set');
    const { isArray } = Array, { isConcatSpreadable, match, replace, split } = Symbol;
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
        MAX_CONCAT_LENGTH,
        taken("Reflect")?,
        taken("Object")?,
        taken("RangeError")?,
    ))
}
