//! The four calls that governance makes into scripts, over any [`Host`]: which arguments each gets, and how its
//! value is read. Replay ([`crate::governance`]) and a running node ([`crate::live`]) make the same calls.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rquickjs::function::Args;
use rquickjs::{Array, Coerced, Ctx, Object, Value};

use crate::api::{self, Host, Role, Setting};
use crate::engine::{self, Code, FailureKind, Program, ScriptFailure};

/// A host shared with the scripts of one call.
type Shared<H> = Rc<RefCell<H>>;

/// A constitution in force, or why it does not compile.
pub type Constitution = Result<Arc<Program>, ScriptFailure>;

fn call<H: Host + 'static, R>(
    constitution: &Constitution,
    host: &Shared<H>,
    setting: Setting,
    function: &str,
    arguments: impl for<'js> FnOnce(&Ctx<'js>, &mut Args<'js>) -> rquickjs::Result<()>,
    read: impl for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> rquickjs::Result<R>,
) -> Result<R, ScriptFailure> {
    let program = constitution.as_ref().map_err(Clone::clone)?;
    engine::call(
        &setting.budget,
        Code::Program(program),
        function,
        |ctx| api::install(ctx, host, setting),
        arguments,
        read,
    )
}

/// `validate(proposal)`: whether it is valid and what the constitution says about it; None: no object came back.
///
/// # Errors
/// A [`ScriptFailure`] of any kind.
pub fn validate<H: Host + 'static>(
    constitution: &Constitution,
    host: &Shared<H>,
    setting: Setting,
    proposal: &str,
) -> Result<Option<(bool, String)>, ScriptFailure> {
    call(
        constitution,
        host,
        Setting { role: Role::Propose, ..setting },
        "validate",
        |_, arguments| arguments.push_arg(proposal),
        |_, value| {
            let Some(object) = value.as_object() else { return Ok(None) };
            let valid: Coerced<bool> = object.get("valid")?;
            let description: Value<'_> = object.get("description")?;
            let description = match description.is_undefined() {
                true => String::new(),
                false => description.get::<Coerced<String>>()?.0,
            };
            Ok(Some((valid.0, description)))
        },
    )
}

/// `vote(proposal, proposer)` of one ballot; `name` is what traces call it.
///
/// # Errors
/// A [`ScriptFailure`] of any kind.
pub fn vote<H: Host + 'static>(
    name: &str,
    ballot: &str,
    host: &Shared<H>,
    setting: Setting,
    proposal: &str,
    proposer: &str,
) -> Result<bool, ScriptFailure> {
    let setting = Setting { role: Role::Propose, ..setting };
    engine::call(
        &setting.budget,
        Code::Source { name, text: ballot },
        "vote",
        |ctx| api::install(ctx, host, setting),
        |_, arguments| {
            arguments.push_arg(proposal)?;
            arguments.push_arg(proposer)
        },
        |_, value| Ok(value.get::<Coerced<bool>>()?.0),
    )
}

/// `resolve(proposal, proposer, votes, id)`: what it returned, as text.
///
/// # Errors
/// A [`ScriptFailure`] of any kind.
pub fn resolve<H: Host + 'static>(
    constitution: &Constitution,
    host: &Shared<H>,
    setting: Setting,
    proposal: &str,
    proposer: &str,
    votes: &BTreeMap<String, bool>,
    id: &str,
) -> Result<String, ScriptFailure> {
    call(
        constitution,
        host,
        Setting { role: Role::Propose, ..setting },
        "resolve",
        |ctx, arguments| {
            arguments.push_arg(proposal)?;
            arguments.push_arg(proposer)?;
            let list = Array::new(ctx.clone())?;
            for (index, (member, vote)) in votes.iter().enumerate() {
                let entry = Object::new(ctx.clone())?;
                entry.set("member_id", member.as_str())?;
                entry.set("vote", *vote)?;
                list.set(index, entry)?;
            }
            arguments.push_arg(list)?;
            arguments.push_arg(id)
        },
        |_, value| Ok(value.get::<Coerced<String>>()?.0),
    )
}

/// `apply(proposal, id)`; what it does, the host sees.
///
/// # Errors
/// A [`ScriptFailure`] of any kind.
pub fn apply<H: Host + 'static>(
    constitution: &Constitution,
    host: &Shared<H>,
    setting: Setting,
    proposal: &str,
    id: &str,
) -> Result<(), ScriptFailure> {
    call(
        constitution,
        host,
        Setting { role: Role::Apply, ..setting },
        "apply",
        |_, arguments| {
            arguments.push_arg(proposal)?;
            arguments.push_arg(id)
        },
        |_, _| Ok(()),
    )
}

/// The failure of a `validate` that returned no object.
#[must_use]
pub fn no_object() -> ScriptFailure {
    ScriptFailure::new(FailureKind::Exception, "validate() returned no object")
}
