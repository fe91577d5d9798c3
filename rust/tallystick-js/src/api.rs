//! The `ccf` global: what governance scripts may call, over a [`Host`].
//!
//! Behaviour and words of the errors follow CCF (node-runtime.md sections 3.4 and 7.5): keys and values are
//! `ArrayBuffer`s, a table that may not be used throws at the call and not at the access, and a function that
//! this context does not offer is simply not there.
use std::cell::RefCell;
use std::rc::Rc;

use rquickjs::function::{Rest, This};
use rquickjs::object::Accessor;
use rquickjs::proxy::{ProxyHandler, ProxyProperty, ProxyTarget};
use rquickjs::{
    ArrayBuffer, Ctx, Error, Exception, Function, IntoJs, JsLifetime, Object, Persistent, Proxy, Result,
    Value, qjs,
};

use crate::api_crypto;
use crate::constitution::validate_constitution;
use crate::crypto;
use crate::engine::Budget;
use crate::tables::Bytes;

pub(crate) const RESTRICTIONS_URL: &str =
    "https://microsoft.github.io/CCF/main/audit/read_write_restrictions.html";

/// Functions with their number of arguments that reach the node; [`Host::effect`] answers them.
const NODE_EFFECTS: [(&str, usize); 7] = [
    ("triggerLedgerRekey", 0),
    ("transitionServiceToOpen", 2),
    ("triggerRecoverySharesRefresh", 0),
    ("triggerLedgerChunk", 0),
    ("triggerSnapshot", 0),
    ("triggerACMERefresh", 1),
    ("shuffleSealedShares", 0),
];
const NETWORK_EFFECTS: [(&str, usize); 3] = [
    ("getLatestLedgerSecretSeqno", 0),
    ("generateEndorsedCertificate", 3),
    ("generateNetworkCertificate", 2),
];
const TOP_EFFECTS: [(&str, usize); 3] =
    [("refreshAppBytecodeCache", 0), ("setJwtPublicSigningKeys", 3), ("removeJwtPublicSigningKeys", 1)];

/// What a script may do with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Inaccessible,
    /// Read.
    ReadOnly,
    /// Write, without seeing what is there.
    WriteOnly,
    /// Both.
    ReadWrite,
}

/// In which role a script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A ballot, `validate` or `resolve`: read-only governance.
    Propose,
    /// `apply`: read-write governance, with the functions that reach the node.
    Apply,
}

impl Role {
    /// Access to `table` in this role (CCF's read/write restrictions).
    pub fn access(self, table: &str) -> Access {
        let Some(name) = table.strip_prefix("public:") else { return Access::Inaccessible };
        if name.starts_with("ccf.internal.") {
            Access::ReadOnly
        } else if name.starts_with("ccf.gov.") {
            if self == Self::Apply { Access::ReadWrite } else { Access::ReadOnly }
        } else if name.starts_with("ccf.") {
            Access::Inaccessible
        } else if self == Self::Apply {
            Access::WriteOnly
        } else {
            Access::Inaccessible
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Propose => "read-only governance",
            Self::Apply => "read-write governance",
        }
    }
}

/// How one script is run.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its role.
    pub role: Role,
    /// Bounds what `validateConstitution` may use.
    pub budget: Budget,
    /// CCF 1.x: `delete` answers whether the key was there; later it answers nothing.
    pub delete_answers: bool,
}

/// What a function that reaches the node gives back to the script.
#[derive(Clone, Debug, PartialEq)]
pub enum EffectValue {
    /// Nothing.
    Undefined,
    /// Text.
    Text(String),
    /// A number.
    Number(u64),
}

/// The world as a script sees it.
pub trait Host {
    /// The value at `key`.
    fn get(&self, table: &str, key: &[u8]) -> Option<Bytes>;
    /// Seqno of the last write of `key` before this transaction.
    fn version(&self, table: &str, key: &[u8]) -> Option<u64>;
    /// All entries, in the order in which CCF would walk them.
    fn entries(&self, table: &str) -> Vec<(Bytes, Bytes)>;
    /// Writes or, with None, removes.
    fn write(&mut self, table: &str, key: &[u8], value: Option<&[u8]>);
    /// A function that reaches the node; `arguments` is a JSON array.
    ///
    /// # Errors
    /// Text of the exception that the script gets.
    fn effect(
        &mut self,
        function: &'static str,
        arguments: String,
    ) -> std::result::Result<EffectValue, String>;
    /// The script used a source of values that no replay can repeat (`Date`, `Math.random`).
    fn unrepeatable(&mut self, what: &'static str);
    /// The script wrote a line to its console; `method` is the one it called. Replay does not listen.
    fn console(&mut self, _method: &'static str, _line: String) {}
}

/// A host shared by the functions of one context.
pub type Shared<H> = Rc<RefCell<H>>;

/// Installs the `ccf` global and `console`.
///
/// # Errors
/// Any of the engine: no memory.
pub fn install<'js, H: Host + 'static>(ctx: &Ctx<'js>, host: &Shared<H>, setting: Setting) -> Result<()> {
    let globals = ctx.globals();
    let ccf = Object::new(ctx.clone())?;
    install_converters(ctx, &ccf)?;
    install_switches(ctx, &ccf)?;
    let own = Rc::clone(host);
    let notice: api_crypto::Notice = Rc::new(move |what| own.borrow_mut().unrepeatable(what));
    api_crypto::install(ctx, &ccf, &notice, true)?;
    ccf.set("kv", tables_object(ctx, host, setting)?)?;
    let gov = Object::new(ctx.clone())?;
    native(ctx, &gov, "validateConstitution", 1, move |ctx, arguments| {
        validate_constitution(ctx, &text(ctx, arguments, 0)?, &setting.budget)
    })?;
    ccf.set("gov", gov)?;
    if setting.role == Role::Apply {
        install_effects(ctx, &ccf, host, "ccf.", &TOP_EFFECTS)?;
        for (name, path, functions) in [
            ("node", "ccf.node.", NODE_EFFECTS.as_slice()),
            ("network", "ccf.network.", NETWORK_EFFECTS.as_slice()),
        ] {
            let object = Object::new(ctx.clone())?;
            install_effects(ctx, &object, host, path, functions)?;
            ccf.set(name, object)?;
        }
    }
    globals.set("ccf", ccf)?;
    let console = Object::new(ctx.clone())?;
    for level in ["log", "info", "warn", "error", "debug", "trace"] {
        let host = Rc::clone(host);
        native(ctx, &console, level, 0, move |ctx, arguments| {
            let line = console_line(ctx, arguments)?;
            host.borrow_mut().console(level, line);
            Ok(Value::new_undefined(ctx.clone()))
        })?;
    }
    globals.set("console", console)?;
    watch_unrepeatable(ctx, host)
}

/// What `console.log(…)` writes: its arguments as text with blanks between, objects as JSON.
fn console_line<'js>(ctx: &Ctx<'js>, arguments: &[Value<'js>]) -> Result<String> {
    let mut parts = Vec::with_capacity(arguments.len());
    for value in arguments {
        let plain = !value.is_object() || value.is_function() || value.is_error();
        let json = if plain { None } else { ctx.json_stringify(value.clone())? };
        parts.push(match json {
            Some(json) => json.to_string()?,
            None => value.get::<rquickjs::Coerced<String>>()?.0,
        });
    }
    Ok(parts.join(" "))
}

/// Puts accessors before `Date` and `Math.random`, so that their use is known and not just its result.
///
/// The values live in a closure of the script's own world: what a native function captures is out of the
/// collector's sight and would never be freed.
fn watch_unrepeatable<'js, H: Host + 'static>(ctx: &Ctx<'js>, host: &Shared<H>) -> Result<()> {
    const WATCH: &str = "(notify, holder, name) => {
        const value = holder[name];
        Object.defineProperty(holder, name, {
            configurable: true,
            get() { notify(); return value; },
            set(value) { Object.defineProperty(holder, name, { value, writable: true, configurable: true }); },
        });
    }";
    let watch: Function<'js> = ctx.eval(WATCH)?;
    let globals = ctx.globals();
    let math: Object<'js> = globals.get("Math")?;
    for (holder, name, what) in [(globals, "Date", "Date"), (math, "random", "Math.random")] {
        let host = Rc::clone(host);
        let notify = Function::new(ctx.clone(), move || host.borrow_mut().unrepeatable(what))?;
        watch.call::<_, ()>((notify, holder, name))?;
    }
    Ok(())
}

/// Defines `object.name` as a native function that checks nothing about its arguments.
pub(crate) fn native<'js, F>(
    ctx: &Ctx<'js>,
    object: &Object<'js>,
    name: &str,
    length: usize,
    function: F,
) -> Result<()>
where
    F: Fn(&Ctx<'js>, &[Value<'js>]) -> Result<Value<'js>> + 'js,
{
    let late = ctx.userdata::<Late>().map(|late| Rc::clone(&late.0));
    let function = Function::new(ctx.clone(), move |ctx: Ctx<'js>, arguments: Rest<Value<'js>>| {
        if late.as_ref().is_some_and(|late| late()) {
            return Err(interrupted(&ctx));
        }
        function(&ctx, &arguments.0)
    })?;
    let function = function.with_name(name)?.with_length(length)?;
    keep(ctx, &function);
    object.set(name, function)
}

/// Says whether the script is past its time. The engine asks only once in ten thousand steps, and natives make long
/// steps: each of them asks for itself.
pub(crate) struct Late(pub(crate) Rc<dyn Fn() -> bool>);

// SAFETY: nothing in it depends on the lifetime.
unsafe impl JsLifetime<'_> for Late {
    type Changed<'to> = Self;
}

/// Throws what the engine throws when it stops a script, which no script can catch.
pub(crate) fn interrupted(ctx: &Ctx<'_>) -> Error {
    // The value that this gives is the same as below: an exception is pending.
    let _ = Exception::throw_internal(ctx, "interrupted");
    let thrown = ctx.catch();
    // SAFETY: context and value are alive.
    unsafe { qjs::JS_SetUncatchableError(ctx.as_raw().as_ptr(), thrown.as_raw()) };
    ctx.throw(thrown)
}

/// Native functions that must outlive whatever a script does with its references to them: an interpreter whose
/// memory is put back finds them again.
#[derive(Default)]
pub(crate) struct Kept(RefCell<Vec<Persistent<Function<'static>>>>);

// SAFETY: nothing in it depends on the lifetime.
unsafe impl JsLifetime<'_> for Kept {
    type Changed<'to> = Self;
}

/// Keeps `function` for as long as the context's [`Kept`], if it has one.
pub(crate) fn keep<'js>(ctx: &Ctx<'js>, function: &Function<'js>) {
    if let Some(kept) = ctx.userdata::<Kept>() {
        kept.0.borrow_mut().push(Persistent::save(ctx, function.clone()));
    }
}

pub(crate) fn exactly(ctx: &Ctx<'_>, arguments: &[Value<'_>], expected: usize) -> Result<()> {
    if arguments.len() == expected {
        return Ok(());
    }
    let message = format!("Passed {} arguments, but expected {expected}", arguments.len());
    Err(Exception::throw_type(ctx, &message))
}

/// The text of argument `index`, which must be a string. Ends at a NUL character, as in CCF.
pub(crate) fn string(ctx: &Ctx<'_>, value: &Value<'_>) -> Result<String> {
    let Some(found) = value.as_string() else {
        return Err(Exception::throw_type(ctx, "Argument must be a string"));
    };
    let mut text =
        found.to_string().map_err(|_| Exception::throw_type(ctx, "string holds half a surrogate pair"))?;
    if let Some(end) = text.find('\0') {
        text.truncate(end);
    }
    Ok(text)
}

/// The text of argument `index`, converted as JavaScript does.
pub(crate) fn text<'js>(ctx: &Ctx<'js>, arguments: &[Value<'js>], index: usize) -> Result<String> {
    let value = arguments.get(index).cloned().unwrap_or_else(|| Value::new_undefined(ctx.clone()));
    Ok(value.get::<rquickjs::Coerced<String>>()?.0)
}

/// A copy of the bytes of an `ArrayBuffer`; a typed array or anything else throws `message`.
pub(crate) fn buffer(ctx: &Ctx<'_>, value: &Value<'_>, message: &str) -> Result<Vec<u8>> {
    let wrong = || Exception::throw_type(ctx, message);
    let object = value.as_object().ok_or_else(wrong)?;
    let buffer = object.as_array_buffer().ok_or_else(wrong)?;
    // SAFETY: the slice is copied at once; no script runs while it is borrowed.
    unsafe { buffer.as_bytes() }.map(<[u8]>::to_vec).ok_or_else(wrong)
}

/// The bytes of a string: UTF-8, in which half a surrogate pair is written as three bytes.
pub(crate) fn text_bytes(ctx: &Ctx<'_>, text: &rquickjs::String<'_>) -> Result<Vec<u8>> {
    let mut length = 0;
    // SAFETY: the value is a string of this context; the engine's copy is freed after it was copied again.
    unsafe {
        let start = qjs::JS_ToCStringLen(ctx.as_raw().as_ptr(), &raw mut length, text.as_raw());
        if start.is_null() {
            return Err(Error::Exception);
        }
        let bytes = std::slice::from_raw_parts(start.cast::<u8>(), length).to_vec();
        qjs::JS_FreeCString(ctx.as_raw().as_ptr(), start);
        Ok(bytes)
    }
}

pub(crate) fn new_buffer<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>> {
    Ok(ArrayBuffer::new_copy(ctx.clone(), bytes)?.into_value())
}

pub(crate) fn new_text<'js>(ctx: &Ctx<'js>, text: &str) -> Result<Value<'js>> {
    Ok(rquickjs::String::from_str(ctx.clone(), text)?.into_value())
}

pub(crate) fn install_converters<'js>(ctx: &Ctx<'js>, ccf: &Object<'js>) -> Result<()> {
    const NOT_A_BUFFER: &str = "Argument must be an ArrayBuffer";
    native(ctx, ccf, "strToBuf", 1, |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        let [value] = arguments else { return Ok(Value::new_undefined(ctx.clone())) };
        new_buffer(ctx, string(ctx, value)?.as_bytes())
    })?;
    native(ctx, ccf, "bufToStr", 1, |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        let [value] = arguments else { return Ok(Value::new_undefined(ctx.clone())) };
        new_text(ctx, &String::from_utf8_lossy(&buffer(ctx, value, NOT_A_BUFFER)?))
    })?;
    native(ctx, ccf, "jsonCompatibleToBuf", 1, |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        let [value] = arguments else { return Ok(Value::new_undefined(ctx.clone())) };
        match ctx.json_stringify(value.clone())? {
            Some(json) => new_buffer(ctx, string(ctx, &json.into_value())?.as_bytes()),
            None => Err(Exception::throw_type(ctx, "Argument must be a string")),
        }
    })?;
    native(ctx, ccf, "bufToJsonCompatible", 1, |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        let [value] = arguments else { return Ok(Value::new_undefined(ctx.clone())) };
        ctx.json_parse(buffer(ctx, value, NOT_A_BUFFER)?)
    })?;
    native(ctx, ccf, "pemToId", 1, |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        match crypto::certificate_id(&text(ctx, arguments, 0)?) {
            Some(id) => new_text(ctx, &id),
            None => Err(Exception::throw_internal(ctx, "Failed to parse PEM: not a certificate")),
        }
    })?;
    native(ctx, ccf, "tcbHexToPolicy", 2, |ctx, arguments| {
        exactly(ctx, arguments, 2)?;
        let tcb = text(ctx, arguments, 1)?;
        let Some(policy) = crypto::tcb_policy(&text(ctx, arguments, 0)?, &tcb) else {
            return Err(Exception::throw_type(ctx, "TCB could not be parsed from hex_str"));
        };
        let object = Object::new(ctx.clone())?;
        object.set("hexstring", tcb.to_ascii_lowercase())?;
        for (name, value) in policy {
            object.set(name, value)?;
        }
        Ok(object.into_value())
    })?;
    Ok(())
}

/// Switches that change nothing here and answer that they were off.
fn install_switches<'js>(ctx: &Ctx<'js>, ccf: &Object<'js>) -> Result<()> {
    for name in ["enableUntrustedDateTime", "enableMetricsLogging"] {
        native(ctx, ccf, name, 1, |ctx, arguments| {
            exactly(ctx, arguments, 1)?;
            match arguments {
                [value] if value.is_bool() => Ok(Value::new_bool(ctx.clone(), false)),
                _ => Err(Exception::throw_type(ctx, "First argument must be a boolean")),
            }
        })?;
    }
    Ok(())
}

fn install_effects<'js, H: Host + 'static>(
    ctx: &Ctx<'js>,
    object: &Object<'js>,
    host: &Shared<H>,
    path: &'static str,
    functions: &'static [(&'static str, usize)],
) -> Result<()> {
    for &(name, length) in functions {
        let host = Rc::clone(host);
        native(ctx, object, name, length, move |ctx, arguments| {
            // CCF 1.x opened a service without being told which.
            if !(name == "transitionServiceToOpen" && arguments.is_empty()) {
                exactly(ctx, arguments, length)?;
            }
            let json = json_array(ctx, arguments)?;
            let answer = host.borrow_mut().effect(name, json);
            match answer {
                Ok(EffectValue::Undefined) => Ok(Value::new_undefined(ctx.clone())),
                Ok(EffectValue::Text(text)) => new_text(ctx, &text),
                #[allow(clippy::cast_precision_loss, reason = "seqnos are far below 2^53")]
                Ok(EffectValue::Number(number)) => Ok(Value::new_number(ctx.clone(), number as f64)),
                Err(message) => Err(Exception::throw_internal(ctx, &format!("{path}{name}: {message}"))),
            }
        })?;
    }
    Ok(())
}

/// Arguments as a JSON array: buffers as text, what JSON cannot hold as null.
fn json_array<'js>(ctx: &Ctx<'js>, arguments: &[Value<'js>]) -> Result<String> {
    let mut items = Vec::with_capacity(arguments.len());
    for value in arguments {
        let value = match value.as_object().and_then(|object| object.as_array_buffer()) {
            Some(_) => new_text(ctx, &String::from_utf8_lossy(&buffer(ctx, value, "")?))?,
            None => value.clone(),
        };
        let json = ctx.json_stringify(value)?.map(|json| json.to_string()).transpose()?;
        items.push(json.unwrap_or_else(|| "null".to_owned()));
    }
    Ok(format!("[{}]", items.join(",")))
}

/// `ccf.kv`: every property is a handle to the table of that name.
fn tables_object<'js, H: Host + 'static>(
    ctx: &Ctx<'js>,
    host: &Shared<H>,
    setting: Setting,
) -> Result<Value<'js>> {
    // The proxy's target holds the prototype: a native closure may not hold values of the script's world.
    let target = Object::new(ctx.clone())?;
    target.set("methods", table_methods(ctx, host, setting)?)?;
    let handler = ProxyHandler::new(ctx.clone())?.with_getter(
        |target: ProxyTarget<'js>, property: ProxyProperty<'js>, _receiver| {
            let ctx = target.0.ctx().clone();
            if !property.is_string() {
                return Ok(Value::new_undefined(ctx));
            }
            let methods: Object<'js> = target.0.get("methods")?;
            let handle = Object::new_proto(ctx, Some(&methods))?;
            handle.set("_map_name", property.to_string()?)?;
            Ok(handle.into_value())
        },
    )?;
    Proxy::new(ctx.clone(), target, handler)?.into_js(ctx)
}

/// Which side of a table a method needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Read,
    Write,
}

/// The table's name, after checking that `method` may be called on it.
fn permitted(ctx: &Ctx<'_>, this: &Value<'_>, role: Role, method: &str, need: Need) -> Result<String> {
    let name = this
        .as_object()
        .and_then(|object| object.get::<_, String>("_map_name").ok())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Exception::throw_type(ctx, "Internal: No map name stored on handle"))?;
    let kind = match (role.access(&name), need) {
        (Access::ReadWrite, _) | (Access::ReadOnly, Need::Read) | (Access::WriteOnly, Need::Write) => {
            return Ok(name);
        }
        (Access::Inaccessible, _) => "inaccessible",
        (Access::ReadOnly, Need::Write) => "read-only",
        (Access::WriteOnly, Need::Read) => "write-only",
    };
    let context = role.as_str();
    let message = format!(
        "Cannot call \"{method}\" on table named {name}. This table is {kind} in current ({context}) execution context. See {RESTRICTIONS_URL} for more detail."
    );
    Err(Exception::throw_type(ctx, &message))
}

/// The prototype of table handles.
fn table_methods<'js, H: Host + 'static>(
    ctx: &Ctx<'js>,
    host: &Shared<H>,
    setting: Setting,
) -> Result<Object<'js>> {
    let role = setting.role;
    const NOT_A_BUFFER: &str = "Argument must be an ArrayBuffer";
    let methods = Object::new(ctx.clone())?;
    let define = |name: &'static str, length: usize, need: Need, body: TableMethod<'js, H>| -> Result<()> {
        let host = Rc::clone(host);
        let function = Function::new(
            ctx.clone(),
            move |ctx: Ctx<'js>, this: This<Value<'js>>, arguments: Rest<Value<'js>>| {
                let table = permitted(&ctx, &this.0, role, name, need)?;
                exactly(&ctx, &arguments.0, length)?;
                body(&ctx, &host, &table, &this.0, &arguments.0)
            },
        )?;
        methods.set(name, function.with_name(name)?.with_length(length)?)
    };
    define("has", 1, Need::Read, |ctx, host, table, _, arguments| {
        let key = first_buffer(ctx, arguments, NOT_A_BUFFER)?;
        Ok(Value::new_bool(ctx.clone(), host.borrow().get(table, &key).is_some()))
    })?;
    define("get", 1, Need::Read, |ctx, host, table, _, arguments| {
        let found = host.borrow().get(table, &first_buffer(ctx, arguments, NOT_A_BUFFER)?);
        found.map_or_else(|| Ok(Value::new_undefined(ctx.clone())), |value| new_buffer(ctx, &value))
    })?;
    define("getVersionOfPreviousWrite", 1, Need::Read, |ctx, host, table, _, arguments| {
        let found = host.borrow().version(table, &first_buffer(ctx, arguments, NOT_A_BUFFER)?);
        #[allow(clippy::cast_precision_loss, reason = "seqnos are far below 2^53")]
        Ok(found.map_or_else(
            || Value::new_undefined(ctx.clone()),
            |seqno| Value::new_number(ctx.clone(), seqno as f64),
        ))
    })?;
    define("set", 2, Need::Write, |ctx, host, table, this, arguments| {
        let [key, value] = arguments else { return Ok(Value::new_undefined(ctx.clone())) };
        let both = "Arguments must be ArrayBuffers";
        let (key, value) = (buffer(ctx, key, both)?, buffer(ctx, value, both)?);
        host.borrow_mut().write(table, &key, Some(&value));
        Ok(this.clone())
    })?;
    let remove: TableMethod<'js, H> = |ctx, host, table, _, arguments| {
        let key = first_buffer(ctx, arguments, NOT_A_BUFFER)?;
        host.borrow_mut().write(table, &key, None);
        Ok(Value::new_undefined(ctx.clone()))
    };
    let remove_and_answer: TableMethod<'js, H> = |ctx, host, table, _, arguments| {
        let key = first_buffer(ctx, arguments, NOT_A_BUFFER)?;
        let found = host.borrow().get(table, &key).is_some();
        host.borrow_mut().write(table, &key, None);
        Ok(Value::new_bool(ctx.clone(), found))
    };
    define("delete", 1, Need::Write, if setting.delete_answers { remove_and_answer } else { remove })?;
    define("clear", 0, Need::Write, |ctx, host, table, _, _| {
        let entries = host.borrow().entries(table);
        for (key, _) in entries {
            host.borrow_mut().write(table, &key, None);
        }
        Ok(Value::new_undefined(ctx.clone()))
    })?;
    define("forEach", 1, Need::Read, |ctx, host, table, this, arguments| {
        let Some(visit) = arguments.first().and_then(Value::as_function) else {
            return Err(Exception::throw_type(ctx, "Argument must be a function"));
        };
        let entries = host.borrow().entries(table);
        for (key, value) in entries {
            visit.call::<_, Value<'js>>((new_buffer(ctx, &value)?, new_buffer(ctx, &key)?, this.clone()))?;
        }
        Ok(Value::new_undefined(ctx.clone()))
    })?;
    let host = Rc::clone(host);
    let size = move |ctx: Ctx<'js>, this: This<Value<'js>>| -> Result<usize> {
        let table = permitted(&ctx, &this.0, role, "size", Need::Read)?;
        Ok(host.borrow().entries(&table).len())
    };
    methods.prop("size", Accessor::from(size))?;
    Ok(methods)
}

/// Body of a method of a table handle: context, host, table name, the handle, the arguments.
type TableMethod<'js, H> = fn(&Ctx<'js>, &Shared<H>, &str, &Value<'js>, &[Value<'js>]) -> Result<Value<'js>>;

fn first_buffer(ctx: &Ctx<'_>, arguments: &[Value<'_>], message: &str) -> Result<Vec<u8>> {
    match arguments.first() {
        Some(value) => buffer(ctx, value, message),
        None => Err(Exception::throw_type(ctx, message)),
    }
}
