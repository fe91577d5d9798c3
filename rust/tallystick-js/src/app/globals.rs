//! The globals of an application: `ccf`, `console`, and a `Math.random` that cannot be foretold.
use std::rc::Rc;
use std::sync::Arc;

use rquickjs::{Ctx, Exception, Function, Object, Persistent, Result, Value};

use super::bounds;
use super::host::{AppHost, HistoricalState, LogLevel, SharedSlot, Slot};
use super::kv::Tables;
use crate::api::{self, Kept, Late, buffer, exactly, keep, native, new_buffer, text};
use crate::api_crypto::{self, Notice};
use crate::constitution::validate_constitution;
use crate::engine::Budget;

/// Longest line that `console` hands on, bytes: scripts choose it freely.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Values of an interpreter that its caller needs again.
#[derive(Clone)]
pub(super) struct Handles {
    /// The `body` of requests.
    pub(super) body: Persistent<Object<'static>>,
    /// Makes a `kv` from a prototype and a state.
    tables: Persistent<Function<'static>>,
    /// Prototype of handles to tables of the past.
    past: Persistent<Object<'static>>,
    /// The `ccf` object.
    ccf: Persistent<Object<'static>>,
    /// Natives, whatever becomes of the objects that show them to scripts.
    _kept: Rc<Kept>,
}

/// Runs `body` over the host of the running request. Without one, what asks is the top level of a module whose
/// evaluation might have been kept for later: remembers that it must not be.
pub(super) fn with_host<R>(
    ctx: &Ctx<'_>,
    slot: &Slot,
    body: impl FnOnce(&mut dyn AppHost) -> R,
) -> Result<R> {
    match slot.host.borrow_mut().as_mut() {
        Some(host) => Ok(body(host.as_mut())),
        None => {
            slot.unrepeatable.set(true);
            Err(Exception::throw_internal(ctx, "No transaction available"))
        }
    }
}

/// Installs the globals.
///
/// # Errors
/// Any of the engine: no memory.
pub(super) fn install(ctx: &Ctx<'_>, slot: &SharedSlot) -> Result<Handles> {
    // A context of its own was just made, so there is no other.
    let _ = ctx.store_userdata(Kept::default());
    let own = Rc::clone(slot);
    let _ = ctx.store_userdata(Late(Rc::new(move || own.late())));
    let ccf = Object::new(ctx.clone())?;
    api::install_converters(ctx, &ccf)?;
    let own = Rc::clone(slot);
    let notice: Notice =
        Rc::new(move |_| own.unrepeatable.set(own.unrepeatable.get() || own.host.borrow().is_none()));
    api_crypto::install(ctx, &ccf, &notice, false)?;
    let tables = Tables::new(ctx, slot)?;
    let kv: Object<'_> = tables.handles.call((tables.current,))?;
    ccf.set("kv", kv)?;
    install_rpc(ctx, &ccf, slot)?;
    install_consensus(ctx, &ccf, slot)?;
    install_historical(ctx, &ccf, slot, &tables.handles, &tables.past)?;
    install_switches(ctx, &ccf, slot)?;
    let gov = Object::new(ctx.clone())?;
    native(ctx, &gov, "validateConstitution", 1, |ctx, arguments| {
        validate_constitution(ctx, &text(ctx, arguments, 0)?, &Budget::default())
    })?;
    ccf.set("gov", gov)?;
    // Older versions started programs on the host here. The object remains so that its absence breaks nobody.
    ccf.set("host", Object::new(ctx.clone())?)?;
    install_console(ctx, slot)?;
    install_random(ctx, slot)?;
    bounds::install(ctx)?;
    ctx.globals().set("ccf", ccf.clone())?;
    let body = body_object(ctx, slot)?;
    let kept = ctx.remove_userdata::<Kept>().ok().flatten().map(|kept| *kept).unwrap_or_default();
    Ok(Handles {
        body: Persistent::save(ctx, body),
        tables: Persistent::save(ctx, tables.handles),
        past: Persistent::save(ctx, tables.past),
        ccf: Persistent::save(ctx, ccf),
        _kept: Rc::new(kept),
    })
}

fn body_object<'js>(ctx: &Ctx<'js>, slot: &SharedSlot) -> Result<Object<'js>> {
    let body = Object::new(ctx.clone())?;
    let own = Rc::clone(slot);
    native(ctx, &body, "text", 0, move |ctx, arguments| {
        exactly(ctx, arguments, 0)?;
        let bytes = own.body.borrow().clone();
        api::new_text(ctx, &String::from_utf8_lossy(&bytes))
    })?;
    let own = Rc::clone(slot);
    native(ctx, &body, "json", 0, move |ctx, arguments| {
        exactly(ctx, arguments, 0)?;
        let bytes = own.body.borrow().clone();
        ctx.json_parse(bytes.to_vec())
    })?;
    let own = Rc::clone(slot);
    native(ctx, &body, "arrayBuffer", 0, move |ctx, arguments| {
        exactly(ctx, arguments, 0)?;
        let bytes = own.body.borrow().clone();
        new_buffer(ctx, &bytes)
    })?;
    Ok(body)
}

fn install_rpc<'js>(ctx: &Ctx<'js>, ccf: &Object<'js>, slot: &SharedSlot) -> Result<()> {
    let rpc = Object::new(ctx.clone())?;
    let own = Rc::clone(slot);
    native(ctx, &rpc, "setApplyWrites", 1, move |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        let apply: rquickjs::Coerced<bool> = argument(ctx, arguments, 0).get()?;
        with_host(ctx, &own, |host| host.set_apply_writes(apply.0))?;
        Ok(Value::new_undefined(ctx.clone()))
    })?;
    let own = Rc::clone(slot);
    native(ctx, &rpc, "setClaimsDigest", 1, move |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        let digest = buffer(ctx, &argument(ctx, arguments, 0), "Argument must be an ArrayBuffer")?;
        let Ok(digest) = <[u8; 32]>::try_from(digest.as_slice()) else {
            return Err(Exception::throw_type(ctx, "Argument must be an ArrayBuffer of the right size"));
        };
        with_host(ctx, &own, |host| host.set_claims_digest(digest))?;
        Ok(Value::new_undefined(ctx.clone()))
    })?;
    ccf.set("rpc", rpc)
}

fn install_consensus<'js>(ctx: &Ctx<'js>, ccf: &Object<'js>, slot: &SharedSlot) -> Result<()> {
    let consensus = Object::new(ctx.clone())?;
    let own = Rc::clone(slot);
    native(ctx, &consensus, "getLastCommittedTxId", 0, move |ctx, arguments| {
        exactly(ctx, arguments, 0)?;
        let (view, seqno) = with_host(ctx, &own, |host| host.last_committed())?;
        let txid = Object::new(ctx.clone())?;
        txid.set("view", number(ctx, view))?;
        txid.set("seqno", number(ctx, seqno))?;
        Ok(txid.into_value())
    })?;
    let own = Rc::clone(slot);
    native(ctx, &consensus, "getStatusForTxId", 2, move |ctx, arguments| {
        exactly(ctx, arguments, 2)?;
        let (view, seqno) = (whole(ctx, arguments, 0)?, whole(ctx, arguments, 1)?);
        api::new_text(ctx, with_host(ctx, &own, |host| host.status(view, seqno))?)
    })?;
    let own = Rc::clone(slot);
    native(ctx, &consensus, "getViewForSeqno", 1, move |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        let seqno = whole(ctx, arguments, 0)?;
        let view = with_host(ctx, &own, |host| host.view_at(seqno))?;
        Ok(view.map_or_else(|| Value::new_null(ctx.clone()), |view| number(ctx, view)))
    })?;
    ccf.set("consensus", consensus)
}

/// `ccf.historical`. What makes `kv` objects is found through properties that scripts cannot reach: a native
/// closure may not hold values of the script's world.
fn install_historical<'js>(
    ctx: &Ctx<'js>,
    ccf: &Object<'js>,
    slot: &SharedSlot,
    handles: &Function<'js>,
    past: &Object<'js>,
) -> Result<()> {
    const RANGE: &str = "((fetch, handles, past) => function getStateRange(...args) {
        const states = fetch(...args);
        if (states !== null) for (const state of states) state.kv = handles(past, state.kv);
        return states;
    })";
    let historical = Object::new(ctx.clone())?;
    let own = Rc::clone(slot);
    let fetch =
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, arguments: rquickjs::function::Rest<Value<'js>>| {
            fetch_states(&ctx, &own, &arguments.0)
        })?;
    keep(ctx, &fetch);
    let wrap: Function<'js> = ctx.eval(RANGE)?;
    let range: Function<'js> = wrap.call((fetch, handles.clone(), past.clone()))?;
    historical.set("getStateRange", range.with_length(4)?)?;
    let own = Rc::clone(slot);
    native(ctx, &historical, "dropCachedStates", 1, move |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        let handle = unsigned(ctx, arguments, 0, "handle")?;
        Ok(Value::new_bool(ctx.clone(), with_host(ctx, &own, |host| host.drop_historical(handle))?))
    })?;
    ccf.set("historical", historical)
}

/// States as objects whose `kv` is still the number of the state.
fn fetch_states<'js>(ctx: &Ctx<'js>, slot: &SharedSlot, arguments: &[Value<'js>]) -> Result<Value<'js>> {
    exactly(ctx, arguments, 4)?;
    let handle = unsigned(ctx, arguments, 0, "handle")?;
    let first = unsigned(ctx, arguments, 1, "start seqno")?;
    let last = unsigned(ctx, arguments, 2, "end seqno")?;
    let expiry = unsigned(ctx, arguments, 3, "seconds until expiry")?;
    match with_host(ctx, slot, |host| host.historical(handle, first, last, expiry))? {
        Err(message) => Err(Exception::throw_internal(ctx, &message)),
        Ok(None) => Ok(Value::new_null(ctx.clone())),
        Ok(Some(states)) => {
            let array = rquickjs::Array::new(ctx.clone())?;
            for (index, state) in states.into_iter().enumerate() {
                let number = remember(slot, &state);
                array.set(index, state_object(ctx, &state, number.into_js_number(ctx))?)?;
            }
            Ok(array.into_value())
        }
    }
}

trait IntoJsNumber {
    fn into_js_number<'js>(self, ctx: &Ctx<'js>) -> Value<'js>;
}

impl IntoJsNumber for usize {
    fn into_js_number<'js>(self, ctx: &Ctx<'js>) -> Value<'js> {
        number(ctx, u64::try_from(self).unwrap_or(u64::MAX))
    }
}

fn remember(slot: &Slot, state: &Arc<HistoricalState>) -> usize {
    let mut states = slot.states.borrow_mut();
    states.push(Arc::clone(state));
    states.len() - 1
}

fn state_object<'js>(ctx: &Ctx<'js>, state: &HistoricalState, kv: Value<'js>) -> Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    object.set("transactionId", state.transaction_id.as_str())?;
    object.set("receipt", ctx.json_parse(state.receipt.as_str())?)?;
    object.set("kv", kv)?;
    Ok(object)
}

impl Handles {
    /// Sets `ccf.historicalState`, which endpoints of mode `historical` find.
    pub(super) fn set_historical_state(
        &self,
        ctx: &Ctx<'_>,
        slot: &Slot,
        state: Option<&Arc<HistoricalState>>,
    ) -> Result<()> {
        let ccf = self.ccf.clone().restore(ctx)?;
        let Some(state) = state else {
            // A reused interpreter must not show an earlier request's state.
            return ccf.remove("historicalState");
        };
        let index = remember(slot, state).into_js_number(ctx);
        let make = self.tables.clone().restore(ctx)?;
        let kv: Value<'_> = make.call((self.past.clone().restore(ctx)?, index))?;
        ccf.set("historicalState", state_object(ctx, state, kv)?)
    }
}

fn install_switches<'js>(ctx: &Ctx<'js>, ccf: &Object<'js>, slot: &SharedSlot) -> Result<()> {
    native(ctx, ccf, "enableUntrustedDateTime", 1, |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        Ok(Value::new_bool(ctx.clone(), flag(ctx, arguments)?))
    })?;
    let own = Rc::clone(slot);
    native(ctx, ccf, "enableMetricsLogging", 1, move |ctx, arguments| {
        exactly(ctx, arguments, 1)?;
        Ok(Value::new_bool(ctx.clone(), own.metrics.replace(flag(ctx, arguments)?)))
    })
}

fn install_console(ctx: &Ctx<'_>, slot: &SharedSlot) -> Result<()> {
    let console = Object::new(ctx.clone())?;
    for (name, level) in [
        ("log", LogLevel::Info),
        ("info", LogLevel::Info),
        ("warn", LogLevel::Fail),
        ("error", LogLevel::Fatal),
    ] {
        let own = Rc::clone(slot);
        native(ctx, &console, name, 0, move |ctx, arguments| {
            let mut line = String::new();
            for value in arguments {
                let value: rquickjs::Coerced<String> = value.get()?;
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(&value.0);
                if line.len() > MAX_LINE_BYTES {
                    let end = (0..=MAX_LINE_BYTES).rev().find(|&end| line.is_char_boundary(end)).unwrap_or(0);
                    line.truncate(end);
                    break;
                }
            }
            with_host(ctx, &own, |host| host.log(level, &line))?;
            Ok(Value::new_undefined(ctx.clone()))
        })?;
    }
    ctx.globals().set("console", console)
}

fn install_random(ctx: &Ctx<'_>, slot: &SharedSlot) -> Result<()> {
    let math: Object<'_> = ctx.globals().get("Math")?;
    let own = Rc::clone(slot);
    native(ctx, &math, "random", 0, move |ctx, _| {
        if own.host.borrow().is_none() {
            own.unrepeatable.set(true);
        }
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| Exception::throw_internal(ctx, "no random numbers are available"))?;
        // 53 random bits, as many as a number below one holds.
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
        let value = (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64;
        Ok(Value::new_float(ctx.clone(), value))
    })
}

fn argument<'js>(ctx: &Ctx<'js>, arguments: &[Value<'js>], index: usize) -> Value<'js> {
    arguments.get(index).cloned().unwrap_or_else(|| Value::new_undefined(ctx.clone()))
}

fn flag<'js>(ctx: &Ctx<'js>, arguments: &[Value<'js>]) -> Result<bool> {
    argument(ctx, arguments, 0)
        .as_bool()
        .ok_or_else(|| Exception::throw_type(ctx, "First argument must be a boolean"))
}

#[allow(clippy::cast_precision_loss, reason = "views and seqnos are far below 2^53")]
fn number<'js>(ctx: &Ctx<'js>, value: u64) -> Value<'js> {
    Value::new_number(ctx.clone(), value as f64)
}

/// A number of argument `index`, which must not be negative.
fn unsigned<'js>(ctx: &Ctx<'js>, arguments: &[Value<'js>], index: usize, what: &str) -> Result<u64> {
    let value: rquickjs::Coerced<f64> = argument(ctx, arguments, index).get()?;
    if value.0 < 0.0 {
        return Err(Exception::throw_range(ctx, &format!("Invalid {what}: cannot be negative")));
    }
    Ok(truncated(value.0))
}

/// A number of argument `index`; what is no transaction's number becomes 0.
fn whole<'js>(ctx: &Ctx<'js>, arguments: &[Value<'js>], index: usize) -> Result<u64> {
    let value: rquickjs::Coerced<f64> = argument(ctx, arguments, index).get()?;
    if value.0 < 0.0 {
        return Err(Exception::throw_range(ctx, "Invalid view or seqno: cannot be negative"));
    }
    Ok(truncated(value.0))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and turns what is no number into 0"
)]
fn truncated(value: f64) -> u64 {
    value as u64
}
