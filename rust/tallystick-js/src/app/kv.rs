//! `ccf.kv`: handles to the tables of the running transaction, and to those that a past one wrote.
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rquickjs::function::{Rest, This};
use rquickjs::{Ctx, Exception, Function, Object, Result, Value};

use super::globals::with_host;
use super::host::{AppHost, HistoricalState, SharedSlot, Slot};
use crate::api::{Access, RESTRICTIONS_URL, buffer, exactly, interrupted, keep, new_buffer};

const NOT_A_BUFFER: &str = "Argument must be an ArrayBuffer";

/// Makes, from the prototypes of handles, what answers `kv[name]`. It is in JavaScript because closures of the
/// engine live and die with an interpreter's memory. What it needs is taken before any script runs.
const HANDLES: &str = "((Proxy, create) => (methods, state) => new Proxy({}, {
    get(_, name) {
        if (typeof name !== 'string') return undefined;
        const handle = create(methods);
        handle._map_name = name;
        if (state !== undefined) handle._state = state;
        return handle;
    },
}))(Proxy, Object.create)";

/// Makes `size` a property that is computed.
const SIZE: &str = "(methods, size) => {
    Object.defineProperty(methods, 'size', { get: size, configurable: true, enumerable: true });
}";

/// The functions and prototypes behind `kv`, made once per interpreter.
pub(super) struct Tables<'js> {
    /// `(methods, state) => kv`.
    pub(super) handles: Function<'js>,
    /// Prototype of handles to current tables.
    pub(super) current: Object<'js>,
    /// Prototype of handles to tables of the past.
    pub(super) past: Object<'js>,
}

impl<'js> Tables<'js> {
    /// Makes them.
    pub(super) fn new(ctx: &Ctx<'js>, slot: &SharedSlot) -> Result<Self> {
        Ok(Self {
            handles: ctx.eval(HANDLES)?,
            current: current_methods(ctx, slot)?,
            past: past_methods(ctx, slot)?,
        })
    }
}

/// Which side of a table a method needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Read,
    Write,
}

type Method<'js> = fn(&Ctx<'js>, &SharedSlot, &Value<'js>, &[Value<'js>]) -> Result<Value<'js>>;

/// The methods of a handle: name, number of arguments, what they need.
const METHODS: [(&str, usize, Need); 7] = [
    ("has", 1, Need::Read),
    ("get", 1, Need::Read),
    ("getVersionOfPreviousWrite", 1, Need::Read),
    ("forEach", 1, Need::Read),
    ("set", 2, Need::Write),
    ("delete", 1, Need::Write),
    ("clear", 0, Need::Write),
];

fn define<'js>(
    ctx: &Ctx<'js>,
    slot: &SharedSlot,
    bodies: [Method<'js>; 7],
    size: fn(&Ctx<'js>, &SharedSlot, &Value<'js>) -> Result<usize>,
) -> Result<Object<'js>> {
    let methods = Object::new(ctx.clone())?;
    for ((name, length, _), body) in METHODS.into_iter().zip(bodies) {
        let slot = Rc::clone(slot);
        let function = Function::new(
            ctx.clone(),
            move |ctx: Ctx<'js>, this: This<Value<'js>>, arguments: Rest<Value<'js>>| {
                if slot.late() {
                    return Err(interrupted(&ctx));
                }
                exactly(&ctx, &arguments.0, length)?;
                body(&ctx, &slot, &this.0, &arguments.0)
            },
        )?;
        let function = function.with_name(name)?.with_length(length)?;
        keep(ctx, &function);
        methods.set(name, function)?;
    }
    let slot = Rc::clone(slot);
    let size = move |ctx: Ctx<'js>, this: This<Value<'js>>| size(&ctx, &slot, &this.0);
    let size = Function::new(ctx.clone(), size)?;
    keep(ctx, &size);
    ctx.eval::<Function<'js>, _>(SIZE)?.call::<_, ()>((methods.clone(), size))?;
    Ok(methods)
}

/// Name of the table that a handle stands for.
fn table_name<'js>(ctx: &Ctx<'js>, this: &Value<'js>) -> Result<String> {
    this.as_object()
        .and_then(|object| object.get::<_, String>("_map_name").ok())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Exception::throw_type(ctx, "Internal: No map name stored on handle"))
}

/// Runs `body` over the host and the table's name, if `method` may be called on that table.
fn on_table<'js, R>(
    ctx: &Ctx<'js>,
    slot: &Slot,
    this: &Value<'js>,
    method: &str,
    need: Need,
    body: impl FnOnce(&mut dyn AppHost, &str) -> R,
) -> Result<R> {
    let name = table_name(ctx, this)?;
    with_host(ctx, slot, |host| {
        let kind = match (host.access(&name), need) {
            (Access::ReadWrite, _) | (Access::ReadOnly, Need::Read) | (Access::WriteOnly, Need::Write) => {
                return Ok(body(host, &name));
            }
            (Access::Inaccessible, _) => "inaccessible",
            (Access::ReadOnly, Need::Write) => "read-only",
            (Access::WriteOnly, Need::Read) => "write-only",
        };
        let context = if host.read_only() { "read-only application" } else { "application" };
        let message = format!(
            "Cannot call \"{method}\" on table named {name}. This table is {kind} in current ({context}) execution context. See {RESTRICTIONS_URL} for more detail."
        );
        Err(Exception::throw_type(ctx, &message))
    })?
}

fn key<'js>(ctx: &Ctx<'js>, arguments: &[Value<'js>]) -> Result<Vec<u8>> {
    match arguments.first() {
        Some(value) => buffer(ctx, value, NOT_A_BUFFER),
        None => Err(Exception::throw_type(ctx, NOT_A_BUFFER)),
    }
}

fn optional_buffer<'js>(ctx: &Ctx<'js>, found: Option<&Bytes>) -> Result<Value<'js>> {
    found.map_or_else(|| Ok(Value::new_undefined(ctx.clone())), |value| new_buffer(ctx, value))
}

#[allow(clippy::cast_precision_loss, reason = "seqnos are far below 2^53")]
fn optional_number<'js>(ctx: &Ctx<'js>, found: Option<u64>) -> Value<'js> {
    found.map_or_else(
        || Value::new_undefined(ctx.clone()),
        |number| Value::new_number(ctx.clone(), number as f64),
    )
}

/// Calls `visit(value, key, handle)` for each entry until it throws.
fn visit_all<'js>(
    ctx: &Ctx<'js>,
    this: &Value<'js>,
    arguments: &[Value<'js>],
    entries: impl FnOnce() -> Result<Vec<(Bytes, Bytes)>>,
) -> Result<Value<'js>> {
    let Some(visit) = arguments.first().and_then(Value::as_function) else {
        return Err(Exception::throw_type(ctx, "Argument must be a function"));
    };
    for (key, value) in entries()? {
        visit.call::<_, Value<'js>>((new_buffer(ctx, &value)?, new_buffer(ctx, &key)?, this.clone()))?;
    }
    Ok(Value::new_undefined(ctx.clone()))
}

fn current_methods<'js>(ctx: &Ctx<'js>, slot: &SharedSlot) -> Result<Object<'js>> {
    let has: Method<'js> = |ctx, slot, this, arguments| {
        let key = key(ctx, arguments)?;
        let found =
            on_table(ctx, slot, this, "has", Need::Read, |host, table| host.get(table, &key).is_some())?;
        Ok(Value::new_bool(ctx.clone(), found))
    };
    let get: Method<'js> = |ctx, slot, this, arguments| {
        let key = key(ctx, arguments)?;
        let found = on_table(ctx, slot, this, "get", Need::Read, |host, table| host.get(table, &key))?;
        optional_buffer(ctx, found.as_ref())
    };
    let version: Method<'js> = |ctx, slot, this, arguments| {
        let key = key(ctx, arguments)?;
        let name = "getVersionOfPreviousWrite";
        let found = on_table(ctx, slot, this, name, Need::Read, |host, table| host.version(table, &key))?;
        Ok(optional_number(ctx, found))
    };
    let for_each: Method<'js> = |ctx, slot, this, arguments| {
        visit_all(ctx, this, arguments, || {
            on_table(ctx, slot, this, "forEach", Need::Read, |host, table| host.entries(table))
        })
    };
    let set: Method<'js> = |ctx, slot, this, arguments| {
        let [key, value] = arguments else { return Ok(Value::new_undefined(ctx.clone())) };
        let both = "Arguments must be ArrayBuffers";
        let (key, value) = (buffer(ctx, key, both)?, buffer(ctx, value, both)?);
        on_table(ctx, slot, this, "set", Need::Write, |host, table| {
            host.write(table, key.into(), Some(value.into()));
        })?;
        Ok(this.clone())
    };
    let delete: Method<'js> = |ctx, slot, this, arguments| {
        let key = key(ctx, arguments)?;
        on_table(ctx, slot, this, "delete", Need::Write, |host, table| host.write(table, key.into(), None))?;
        Ok(Value::new_undefined(ctx.clone()))
    };
    let clear: Method<'js> = |ctx, slot, this, _| {
        on_table(ctx, slot, this, "clear", Need::Write, |host, table| host.clear(table))?;
        Ok(Value::new_undefined(ctx.clone()))
    };
    define(ctx, slot, [has, get, version, for_each, set, delete, clear], |ctx, slot, this| {
        on_table(ctx, slot, this, "size", Need::Read, |host, table| host.size(table))
    })
}

/// The state of the past that a handle belongs to, and the name of its table.
fn past<'js>(ctx: &Ctx<'js>, slot: &SharedSlot, this: &Value<'js>) -> Result<(Arc<HistoricalState>, String)> {
    let name = table_name(ctx, this)?;
    let index = this.as_object().and_then(|object| object.get::<_, usize>("_state").ok());
    let state = index.and_then(|index| slot.states.borrow().get(index).cloned());
    slot.unrepeatable.set(slot.unrepeatable.get() || slot.host.borrow().is_none());
    match state {
        Some(state) => Ok((state, name)),
        None => Err(Exception::throw_internal(ctx, "Internal: Unable to access MapHandle")),
    }
}

fn past_methods<'js>(ctx: &Ctx<'js>, slot: &SharedSlot) -> Result<Object<'js>> {
    fn value(state: &HistoricalState, table: &str, key: &[u8]) -> Option<Bytes> {
        state.tables.get(table)?.get(key)?.clone()
    }
    let has: Method<'js> = |ctx, slot, this, arguments| {
        let (state, table) = past(ctx, slot, this)?;
        Ok(Value::new_bool(ctx.clone(), value(&state, &table, &key(ctx, arguments)?).is_some()))
    };
    let get: Method<'js> = |ctx, slot, this, arguments| {
        let (state, table) = past(ctx, slot, this)?;
        optional_buffer(ctx, value(&state, &table, &key(ctx, arguments)?).as_ref())
    };
    let version: Method<'js> = |ctx, slot, this, arguments| {
        let (state, table) = past(ctx, slot, this)?;
        let found = value(&state, &table, &key(ctx, arguments)?);
        let seqno = state.transaction_id.rsplit_once('.').and_then(|(_, seqno)| seqno.parse().ok());
        Ok(optional_number(ctx, found.and(seqno)))
    };
    let for_each: Method<'js> = |ctx, slot, this, arguments| {
        visit_all(ctx, this, arguments, || {
            let (state, table) = past(ctx, slot, this)?;
            let entries = state.tables.get(&table).into_iter().flatten();
            Ok(entries.filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect())
        })
    };
    let denied: Method<'js> = |ctx, slot, this, _| {
        past(ctx, slot, this)?;
        Err(Exception::throw_type(ctx, "All tables are read-only during historical transaction."))
    };
    define(ctx, slot, [has, get, version, for_each, denied, denied, denied], |ctx, slot, this| {
        let (state, table) = past(ctx, slot, this)?;
        Ok(state.tables.get(&table).map_or(0, |table| table.values().flatten().count()))
    })
}
