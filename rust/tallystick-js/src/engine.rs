//! One call into one module: compile or load, evaluate, call an export, all within a [`Budget`].
//!
//! Every call has a runtime and a context of its own, so that nothing which one script leaves behind
//! (globals, patched prototypes, pending jobs) can reach another. There is no module loader, no clock-based
//! waiting and no I/O: an `import` fails to resolve.
use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rquickjs::context::intrinsic;
use rquickjs::function::{Args, Function};
use rquickjs::module::{Evaluated, Module, WriteOptions};
use rquickjs::promise::PromiseState;
use rquickjs::{Context, Ctx, Error, Object, Runtime, Value};

use crate::api::Late;

/// The objects that a script finds: those of ECMAScript, without `performance`, `WeakRef` and `DOMException`,
/// which CCF's engine does not offer and which would let a script see time or the collector.
pub(crate) type Intrinsics = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
);

/// What this engine puts on `Error` and CCF's does not. The last two let a script run inside of whatever throws,
/// natives that hold the host's state among it.
const FOREIGN_TO_ERROR: [&str; 4] = ["isError", "captureStackTrace", "stackTraceLimit", "prepareStackTrace"];

/// A context in which a script finds the [`Intrinsics`] and no more.
pub(crate) fn new_context(runtime: &Runtime) -> rquickjs::Result<Context> {
    let context = Context::custom::<Intrinsics>(runtime)?;
    context.with(|ctx| {
        let error: Object<'_> = ctx.globals().get("Error")?;
        FOREIGN_TO_ERROR.into_iter().try_for_each(|name| error.remove(name))
    })?;
    Ok(context)
}

/// Longest source of one module, in bytes. Constitutions are some 50 kB; a ledger entry cannot hold 2 GiB of
/// text that parses in bounded time, so the parser is never given more than this.
pub const MAX_SOURCE_BYTES: usize = 64 << 20;

/// Longest message or trace that a failure keeps, in bytes: a script chooses them freely.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// Heap below which the collector of cycles stays asleep, in bytes: most calls end before they reach it.
const COLLECT_ABOVE_BYTES: usize = 4 << 20;

/// How often pending jobs may run while a module with a top-level `await` settles.
const MAX_PENDING_JOBS: usize = 100_000;

/// What one call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that the runtime may have allocated at a time.
    pub heap_bytes: usize,
    /// Bytes of native stack.
    pub stack_bytes: usize,
    /// Wall time, for compiling, evaluating and calling together.
    pub time: Duration,
}

impl Default for Budget {
    /// CCF's own defaults for governance code: 100 MiB of heap, 1 MiB of stack, 5 s.
    fn default() -> Self {
        Self { heap_bytes: 100 << 20, stack_bytes: 1 << 20, time: Duration::from_secs(5) }
    }
}

/// Why a call gave no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The source is not a module that parses.
    Compile,
    /// The module's top level threw or never settled.
    Evaluate,
    /// The module has no such export, or it is not a function.
    Export,
    /// The function threw.
    Exception,
    /// The time ran out.
    TimedOut,
    /// The engine could not even start: no memory for a context.
    Engine,
}

impl FailureKind {
    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compile => "compile",
            Self::Evaluate => "evaluate",
            Self::Export => "export",
            Self::Exception => "exception",
            Self::TimedOut => "timed-out",
            Self::Engine => "engine",
        }
    }
}

/// A failed call: what kind, what the script said, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScriptFailure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The exception as text, or the engine's own words.
    pub message: String,
    /// The script's stack trace, when the exception was an `Error`.
    pub trace: Option<String>,
}

impl ScriptFailure {
    /// A failure in the engine's own words.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: clipped(message.into()), trace: None }
    }
}

/// Cuts `text` to [`MAX_MESSAGE_BYTES`] at a character boundary.
pub(crate) fn clipped(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A module, compiled once and loaded into any number of contexts, on any thread.
#[derive(Clone, Debug)]
pub struct Program {
    name: Arc<str>,
    bytecode: Arc<[u8]>,
}

impl Program {
    /// Compiles `source` as a module called `name` within `budget`.
    ///
    /// # Errors
    /// [`FailureKind::Compile`] when it does not parse, [`FailureKind::TimedOut`] or
    /// [`FailureKind::Engine`] when the budget ran out.
    pub fn compile(name: &str, source: &str, budget: &Budget) -> Result<Self, ScriptFailure> {
        let session = Session::start(budget)?;
        session.context.with(|ctx| {
            let module = declare(&ctx, &session, name, source)?;
            let bytecode = module
                .write(WriteOptions::default())
                .map_err(|error| session.failure(&ctx, &error, FailureKind::Compile))?;
            Ok(Self { name: name.into(), bytecode: bytecode.into() })
        })
    }

    /// The name given when it was compiled.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What to call: text of a module, or one that is compiled already.
#[derive(Clone, Copy, Debug)]
pub enum Code<'a> {
    /// Source, with the name that traces show.
    Source {
        /// Name of the module.
        name: &'a str,
        /// Its text.
        text: &'a str,
    },
    /// Bytecode.
    Program(&'a Program),
}

/// Calls `function` of `code` within `budget` and reads its value with `read`.
///
/// `prepare` installs what the script may use, before any of it runs; `arguments` pushes the arguments.
///
/// # Errors
/// A [`ScriptFailure`] of any kind.
pub fn call<R>(
    budget: &Budget,
    code: Code<'_>,
    function: &str,
    prepare: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<()>,
    arguments: impl for<'js> FnOnce(&Ctx<'js>, &mut Args<'js>) -> rquickjs::Result<()>,
    read: impl for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> rquickjs::Result<R>,
) -> Result<R, ScriptFailure> {
    let session = Session::start(budget)?;
    session.context.with(|ctx| {
        prepare(&ctx).map_err(|error| session.failure(&ctx, &error, FailureKind::Engine))?;
        let export = session.function(&ctx, code, function)?;
        let outcome = (|| {
            let mut call = Args::new_unsized(ctx.clone());
            arguments(&ctx, &mut call)?;
            let value: Value<'_> = export.call_arg(call)?;
            read(&ctx, value)
        })();
        let outcome = outcome.map_err(|error| session.failure(&ctx, &error, FailureKind::Exception))?;
        // A native loop may outlast the deadline without ever seeing the interrupt: late is late.
        if session.late() { Err(session.timed_out()) } else { Ok(outcome) }
    })
}

/// The JavaScript `length` of an exported function: its number of declared parameters.
///
/// # Errors
/// A [`ScriptFailure`]: the module does not run, or does not export such a function.
pub fn export_length(budget: &Budget, code: Code<'_>, function: &str) -> Result<usize, ScriptFailure> {
    let session = Session::start(budget)?;
    session.context.with(|ctx| {
        let export = session.function(&ctx, code, function)?;
        export.get::<_, usize>("length").map_err(|error| session.failure(&ctx, &error, FailureKind::Export))
    })
}

/// A runtime with its one context and its deadline.
struct Session {
    // Fields drop in this order; the context must go before the runtime.
    context: Context,
    _runtime: Runtime,
    deadline: Instant,
    budget: Budget,
    interrupted: Rc<Cell<bool>>,
}

impl Session {
    fn start(budget: &Budget) -> Result<Self, ScriptFailure> {
        let no_memory = |error: Error| ScriptFailure::new(FailureKind::Engine, error.to_string());
        let runtime = Runtime::new().map_err(no_memory)?;
        runtime.set_max_stack_size(budget.stack_bytes);
        runtime.set_memory_limit(budget.heap_bytes);
        runtime.set_gc_threshold(COLLECT_ABOVE_BYTES);
        let deadline = Instant::now() + budget.time;
        let interrupted = Rc::new(Cell::new(false));
        let flag = Rc::clone(&interrupted);
        let late: Rc<dyn Fn() -> bool> = Rc::new(move || {
            let late = Instant::now() >= deadline;
            if late {
                flag.set(true);
            }
            late
        });
        let asked = Rc::clone(&late);
        runtime.set_interrupt_handler(Some(Box::new(move || asked())));
        let context = new_context(&runtime).map_err(no_memory)?;
        // A context of its own was just made, so there is no other.
        context.with(|ctx| drop(ctx.store_userdata(Late(late))));
        Ok(Self { context, _runtime: runtime, deadline, budget: *budget, interrupted })
    }

    fn late(&self) -> bool {
        self.interrupted.get() || Instant::now() >= self.deadline
    }

    fn timed_out(&self) -> ScriptFailure {
        ScriptFailure::new(
            FailureKind::TimedOut,
            format!("took longer than its budget of {} ms", self.budget.time.as_millis()),
        )
    }

    /// Turns a failed step into a [`ScriptFailure`] of `kind`, taking the pending exception off the context.
    fn failure(&self, ctx: &Ctx<'_>, error: &Error, kind: FailureKind) -> ScriptFailure {
        if self.interrupted.get() {
            drop(ctx.catch());
            return self.timed_out();
        }
        if !matches!(error, Error::Exception) {
            return ScriptFailure::new(kind, error.to_string());
        }
        let thrown = ctx.catch();
        let (message, trace) = described(ctx, &thrown);
        // Describing a hostile exception may itself run the script (toString, toJSON).
        if self.interrupted.get() {
            return self.timed_out();
        }
        ScriptFailure { kind, message: clipped(message), trace: trace.map(clipped) }
    }

    /// Evaluates a module and takes one of its functions.
    ///
    /// A top level that throws is forgiven if the function is there all the same, which declarations are: CCF's
    /// engine evaluates a module to a promise, and CCF never asks what became of it.
    fn function<'js>(
        &self,
        ctx: &Ctx<'js>,
        code: Code<'_>,
        name: &str,
    ) -> Result<Function<'js>, ScriptFailure> {
        let (module, failed) = self.evaluate(ctx, code)?;
        match (self.export(ctx, &module, name), failed) {
            (Err(_), Some(failed)) => Err(failed),
            (export, _) => export,
        }
    }

    /// Evaluates a module; the second value says why its top level did not end well.
    fn evaluate<'js>(
        &self,
        ctx: &Ctx<'js>,
        code: Code<'_>,
    ) -> Result<(Module<'js, Evaluated>, Option<ScriptFailure>), ScriptFailure> {
        let declared = match code {
            Code::Source { name, text } => declare(ctx, self, name, text)?,
            // SAFETY: the bytes come from `Module::write` of this very engine, in this process, and cannot be
            // changed in between: `Program` hands them out to nobody.
            Code::Program(program) => unsafe { Module::load(ctx.clone(), &program.bytecode) }
                .map_err(|error| self.failure(ctx, &error, FailureKind::Engine))?,
        };
        let (module, settled) =
            declared.eval().map_err(|error| self.failure(ctx, &error, FailureKind::Evaluate))?;
        for _ in 0..MAX_PENDING_JOBS {
            if settled.state() != PromiseState::Pending || self.late() || !ctx.execute_pending_job() {
                break;
            }
        }
        match settled.result::<Value<'js>>() {
            Some(Ok(_)) => Ok((module, None)),
            Some(Err(error)) => match self.failure(ctx, &error, FailureKind::Evaluate) {
                failed if failed.kind == FailureKind::Evaluate => Ok((module, Some(failed))),
                failed => Err(failed),
            },
            None if self.late() => Err(self.timed_out()),
            None => {
                let message = "the module never finishes its top level";
                Ok((module, Some(ScriptFailure::new(FailureKind::Evaluate, message))))
            }
        }
    }

    fn export<'js>(
        &self,
        ctx: &Ctx<'js>,
        module: &Module<'js, Evaluated>,
        name: &str,
    ) -> Result<Function<'js>, ScriptFailure> {
        let value: Value<'js> =
            module.get(name).map_err(|error| self.failure(ctx, &error, FailureKind::Export))?;
        if value.is_undefined() {
            return Err(ScriptFailure::new(
                FailureKind::Export,
                format!("the module does not export {name}"),
            ));
        }
        Function::from_value(value).map_err(|_| {
            ScriptFailure::new(FailureKind::Export, format!("the export {name} is not a function"))
        })
    }
}

fn declare<'js>(
    ctx: &Ctx<'js>,
    session: &Session,
    name: &str,
    source: &str,
) -> Result<Module<'js>, ScriptFailure> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(ScriptFailure::new(
            FailureKind::Compile,
            format!("the source has {} bytes, the limit is {MAX_SOURCE_BYTES}", source.len()),
        ));
    }
    Module::declare(ctx.clone(), name, source)
        .map_err(|error| session.failure(ctx, &error, FailureKind::Compile))
}

/// A trace that names places by file and line, as CCF's engine does; this one adds the column.
fn without_columns(trace: &str) -> String {
    let shortened = |line: &str| -> Option<String> {
        let (place, closing) = match line.strip_suffix(')') {
            Some(place) => (place, ")"),
            None => (line, ""),
        };
        let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (before, _) = place.rsplit_once(':').filter(|(_, column)| number(column))?;
        let in_a_line = before.rsplit_once(':').is_some_and(|(_, line)| number(line));
        in_a_line.then(|| format!("{before}{closing}"))
    };
    trace
        .split('\n')
        .map(|line| match line.trim_start().starts_with("at ").then(|| shortened(line)).flatten() {
            Some(shortened) => Cow::Owned(shortened),
            None => Cow::Borrowed(line),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// The text of a thrown value and, for an `Error`, its stack. An object that is no `Error` is shown as JSON.
pub(crate) fn described<'js>(ctx: &Ctx<'js>, thrown: &Value<'js>) -> (String, Option<String>) {
    let text = |value: &Value<'js>| -> Option<String> {
        let text: rquickjs::Coerced<String> = value.get().ok()?;
        Some(text.0)
    };
    let described = if thrown.is_error() || !thrown.is_object() {
        text(thrown)
    } else {
        ctx.json_stringify(thrown.clone()).ok().flatten().and_then(|json| json.to_string().ok())
    };
    let trace = thrown
        .is_error()
        .then(|| thrown.as_object().and_then(|error| error.get::<_, Value<'js>>("stack").ok()))
        .flatten()
        .filter(|stack| !stack.is_undefined())
        .and_then(|stack| text(&stack))
        .map(|stack| without_columns(&stack));
    // What the description itself threw is of no interest.
    if ctx.has_exception() {
        drop(ctx.catch());
    }
    (described.unwrap_or_else(|| "an exception that cannot be shown".to_owned()), trace)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    fn run(source: &str, budget: &Budget) -> Result<bool, ScriptFailure> {
        call(
            budget,
            Code::Source { name: "ballot", text: source },
            "vote",
            |_| Ok(()),
            |_, _| Ok(()),
            |_, value| Ok(value.get::<rquickjs::Coerced<bool>>()?.0),
        )
    }

    fn small() -> Budget {
        Budget { heap_bytes: 8 << 20, stack_bytes: 256 << 10, time: Duration::from_millis(200) }
    }

    #[test]
    fn calls_an_export_and_reads_its_value() {
        assert_eq!(run("export function vote() { return 1 }", &small()), Ok(true));
        assert_eq!(run("export const vote = () => ''", &small()), Ok(false));
    }

    #[test]
    fn stops_a_loop_in_the_function_and_at_the_top_level() {
        for source in [
            "export function vote() { for (;;); }",
            "for (;;); export function vote() {}",
            "export function vote() { /(a+)+b/.test('a'.repeat(40)) }",
            "export function vote() { try { for (;;); } catch (e) { return true } finally { for (;;); } }",
        ] {
            let start = Instant::now();
            assert_eq!(
                run(source, &small()).map_err(|failure| failure.kind),
                Err(FailureKind::TimedOut),
                "{source}"
            );
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }

    #[test]
    fn stops_allocation_and_recursion() {
        let out_of_memory = run(
            "export function vote() { const a = []; for (;;) a.push('x'.repeat(1e5)+a.length) }",
            &small(),
        );
        assert_eq!(out_of_memory.map_err(|failure| failure.message.contains("memory")), Err(true));
        let too_deep = run("export function vote() { return vote() + 1 }", &small());
        assert_eq!(too_deep.map_err(|failure| failure.message.contains("stack")), Err(true));
    }

    #[test]
    fn tells_kinds_of_failure_apart() {
        let kind = |source: &str| run(source, &small()).map_err(|failure| failure.kind);
        assert_eq!(kind("export function ("), Err(FailureKind::Compile));
        assert_eq!(kind("throw 1"), Err(FailureKind::Evaluate));
        assert_eq!(
            kind("await new Promise(() => 1); export const vote = () => 1"),
            Err(FailureKind::Evaluate)
        );
        assert_eq!(kind("throw 1; export const vote = () => 1"), Err(FailureKind::Evaluate));
        assert_eq!(kind("throw 1; export function vote() { return 1 }"), Ok(true));
        assert_eq!(kind("import 'x'; export function vote() {}"), Err(FailureKind::Compile));
        assert_eq!(kind("export function other() {}"), Err(FailureKind::Export));
        assert_eq!(kind("export const vote = 1"), Err(FailureKind::Export));
        let thrown = run("export function vote() { throw new TypeError('no') }", &small()).unwrap_err();
        assert_eq!((thrown.kind, thrown.message.as_str()), (FailureKind::Exception, "TypeError: no"));
        assert!(thrown.trace.unwrap().contains("vote"));
        let odd = run("export function vote() { throw {toJSON() { throw 1 }} }", &small()).unwrap_err();
        assert_eq!(odd.message, "an exception that cannot be shown");
        let long = run("export function vote() { throw 'é'.repeat(1e5) }", &small()).unwrap_err();
        assert!(long.message.len() < MAX_MESSAGE_BYTES + 8);
    }

    #[test]
    fn a_program_gives_what_its_source_gives_in_every_context() {
        let program =
            Program::compile("counter", "let n = 0; export function vote() { return ++n === 1 }", &small())
                .unwrap();
        for _ in 0..3 {
            let value = call(
                &small(),
                Code::Program(&program),
                "vote",
                |_| Ok(()),
                |_, _| Ok(()),
                |_, value| Ok(value.as_bool()),
            );
            assert_eq!(value, Ok(Some(true)));
        }
        assert_eq!(export_length(&small(), Code::Program(&program), "vote"), Ok(0));
    }
}
