//! Interpreters: made once, used for one call at a time.
use std::any::Any;
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rquickjs::promise::PromiseState;
use rquickjs::{
    CatchResultExt as _, Context, Ctx, Error, Function, Module, Object, Persistent, Runtime, Value, qjs,
};

use super::arena::Arena;
use super::globals::{self, Handles};
use super::host::{AppHost, HistoricalState, SharedSlot, Slot};
use super::modules::{ModuleSet, PathResolver, SetLoader, normalised};
use super::request::{AppReply, AppRequest, BadReply, read_reply};
use crate::engine::{Budget, clipped, described, new_context};

/// Address space beyond the heap: what an allocator without compaction may lose between its blocks.
const SLACK_FACTOR: usize = 4;
/// Heap for loading modules, beside the limit for calls: CCF sets none, but a bundle is no reason to end.
const LOADING_HEAP_BYTES: usize = 256 << 20;
/// Time for loading modules. CCF sets none; a loop at the top level must not hold a thread for ever.
const LOADING_TIME: Duration = Duration::from_secs(10);
/// Stack for loading modules.
const LOADING_STACK_BYTES: usize = 1 << 20;
/// The collector of cycles sleeps below this: most calls end before they reach it.
const COLLECT_ABOVE_BYTES: usize = 4 << 20;
/// Most stack for a call, whatever the options say: threads that run calls have [`THREAD_STACK_BYTES`].
const MAX_STACK_BYTES: usize = 12 << 20;
/// Stack that a thread needs to run any call.
pub const THREAD_STACK_BYTES: usize = 16 << 20;
/// What this engine says when the stack is used up.
const OVERFLOW: &str = "RangeError: Maximum call stack size exceeded";
/// What CCF's engine says then.
const CCF_OVERFLOW: &str = "InternalError: stack overflow";
/// Jobs that a call may leave behind before it is given up.
const MAX_PENDING_JOBS: usize = 1_000_000;

/// One call of a handler.
pub struct Call<'a> {
    /// Name of its module.
    pub module: &'a str,
    /// Name of the export.
    pub function: &'a str,
    /// The request.
    pub request: &'a AppRequest,
    /// What `ccf.historicalState` shows, in endpoints of that mode.
    pub historical: Option<&'a Arc<HistoricalState>>,
    /// What the call may use.
    pub budget: &'a Budget,
}

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It took longer than its budget.
    TimedOut,
    /// It threw, or its module could not be loaded: reason and stack trace.
    Exception {
        /// The exception as text.
        reason: String,
        /// Its stack, if it was an `Error`.
        trace: Option<String>,
    },
    /// What it returned is no answer.
    BadReply {
        /// What is wrong with it.
        message: &'static str,
        /// The exception that said so, and its stack.
        thrown: Option<(String, Option<String>)>,
    },
}

impl Failure {
    fn text(reason: impl Into<String>) -> Self {
        Self::Exception { reason: clipped(reason.into()), trace: None }
    }
}

/// What a call did beside its answer.
pub struct Executed<H> {
    /// The host, given back.
    pub host: H,
    /// The answer.
    pub outcome: Result<AppReply, Failure>,
    /// Whether the script wants a line about its execution in the log.
    pub metrics: bool,
}

/// An interpreter.
pub struct Machine {
    // Dropped by hand: the image is restored first, then the interpreter ends, then its memory goes.
    inner: ManuallyDrop<Inner>,
    arena: Arena,
}

struct Inner {
    /// Name spaces of evaluated modules.
    modules: HashMap<String, Persistent<Object<'static>>>,
    handles: Handles,
    /// What told of the use of `Date` while the modules were evaluated: they may have kept it.
    watching: Option<Persistent<Function<'static>>>,
    context: Context,
    _runtime: Runtime,
    slot: SharedSlot,
    set: Arc<ModuleSet>,
    /// Put back after each call.
    fresh: bool,
}

// SAFETY: everything that counts references without atomics (runtime, context, slot, persistent values) is
// reachable from this machine only, so it moves between threads as one; the engine is told of the new stack at
// each call.
unsafe impl Send for Machine {}

impl Drop for Machine {
    fn drop(&mut self) {
        self.inner.slot.clear();
        // SAFETY: no script is running, and the values that `Inner` holds were made before the image.
        unsafe { self.arena.restore() };
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.inner) };
    }
}

impl Machine {
    /// An interpreter in which every call finds `entry` and what it imports just evaluated, and nothing else.
    ///
    /// # Errors
    /// [`Failure`]: the modules cannot be loaded, or their top level throws.
    pub fn fresh(set: &Arc<ModuleSet>, entry: &str, budget: &Budget) -> Result<Self, Failure> {
        let mut machine = Self::start(set, budget, true)?;
        let loaded = machine.inner.watched(entry, budget);
        if machine.inner.slot.unrepeatable.get() {
            // Each call evaluates the modules for itself.
            drop(machine);
            machine = Self::start(set, budget, true)?;
        } else {
            loaded?;
        }
        // What is already unreachable must not be finalised again and again.
        // SAFETY: the runtime is alive and nothing of it is running.
        unsafe { qjs::JS_RunGC(machine.inner.raw_runtime()) };
        machine.arena.take_image();
        Ok(machine)
    }

    /// An interpreter that keeps its globals from call to call.
    ///
    /// # Errors
    /// [`Failure`]: no memory.
    pub fn reusable(set: &Arc<ModuleSet>, budget: &Budget) -> Result<Self, Failure> {
        Self::start(set, budget, false)
    }

    /// Bytes of memory that are copied after each call.
    pub fn image_bytes(&self) -> usize {
        self.arena.image_bytes()
    }

    fn start(set: &Arc<ModuleSet>, budget: &Budget, fresh: bool) -> Result<Self, Failure> {
        let no_memory = |error: Error| Failure::text(error.to_string());
        let heap = budget.heap_bytes.max(LOADING_HEAP_BYTES);
        let mut arena = Arena::new(heap.saturating_mul(SLACK_FACTOR))
            .map_err(|error| Failure::text(format!("no memory for an interpreter: {error}")))?;
        let slot: SharedSlot = Rc::default();
        slot.metrics.set(true);
        let asked = Rc::clone(&slot);
        let allocator = arena.allocator(Box::new(move || asked.late()));
        let runtime = Runtime::new_with_alloc(allocator).map_err(no_memory)?;
        runtime.set_gc_threshold(COLLECT_ABOVE_BYTES);
        let watching = Rc::clone(&slot);
        runtime.set_interrupt_handler(Some(Box::new(move || watching.late())));
        let loader = SetLoader { modules: Arc::clone(set), slot: Rc::clone(&slot), budget: *budget };
        runtime.set_loader(PathResolver, loader);
        let context = new_context(&runtime).map_err(no_memory)?;
        let handles = context.with(|ctx| globals::install(&ctx, &slot)).map_err(no_memory)?;
        let set = Arc::clone(set);
        let inner = Inner {
            modules: HashMap::new(),
            handles,
            watching: None,
            context,
            _runtime: runtime,
            slot,
            set,
            fresh,
        };
        Ok(Self { inner: ManuallyDrop::new(inner), arena })
    }

    /// Calls a handler.
    ///
    /// A failed call may have written to the host all the same; whether that counts is the caller's business.
    pub fn call<H: AppHost>(&mut self, host: H, call: &Call<'_>) -> Executed<Option<H>> {
        let inner = &mut *self.inner;
        inner.adopt_thread();
        *inner.slot.body.borrow_mut() = call.request.body.clone();
        *inner.slot.host.borrow_mut() = Some(Box::new(host));
        inner.slot.interrupted.set(false);
        if inner.fresh {
            inner.slot.metrics.set(true);
        }
        let outcome = inner.execute(call);
        // A native loop may outlast the deadline without ever seeing the interrupt: late is late.
        let late = inner.slot.late() || inner.slot.interrupted.get();
        let outcome = if late { Err(Failure::TimedOut) } else { outcome };
        let metrics = inner.slot.metrics.get();
        let host = inner.slot.host.borrow_mut().take();
        inner.slot.clear();
        if inner.fresh {
            // SAFETY: the call is over, and all that it answered was copied out of the interpreter.
            unsafe { self.arena.restore() };
        }
        let host = host.and_then(|host| (host as Box<dyn Any>).downcast::<H>().ok()).map(|host| *host);
        Executed { host, outcome, metrics }
    }
}

impl Inner {
    /// Tells the engine on which stack it runs now.
    fn adopt_thread(&self) {
        // SAFETY: the runtime is alive and nothing of it is running.
        unsafe { qjs::JS_UpdateStackTop(self.raw_runtime()) };
    }

    fn raw_runtime(&self) -> *mut qjs::JSRuntime {
        // SAFETY: the context is alive.
        unsafe { qjs::JS_GetRuntime(self.context.as_raw().as_ptr()) }
    }

    fn limit(&self, heap_bytes: usize, stack_bytes: usize, time: Duration) {
        let size = |bytes: usize| qjs::size_t::try_from(bytes).unwrap_or(qjs::size_t::MAX);
        // SAFETY: the runtime is alive. The safe calls cannot be made while its context is in use.
        unsafe {
            qjs::JS_SetMemoryLimit(self.raw_runtime(), size(heap_bytes));
            qjs::JS_SetMaxStackSize(self.raw_runtime(), size(stack_bytes.min(MAX_STACK_BYTES)));
        }
        self.slot.deadline.set(Some(Instant::now() + time));
    }

    /// Loads `entry` without a host, and finds out whether its evaluation may be kept.
    fn watched(&mut self, entry: &str, budget: &Budget) -> Result<(), Failure> {
        const WATCH: &str = "(notify) => {
            const Date = globalThis.Date, define = Object.defineProperty;
            const set = (value) => define(globalThis, 'Date', { value, writable: true, configurable: true });
            define(globalThis, 'Date', { configurable: true, get() { notify(); return Date; }, set });
            return () => set(Date);
        }";
        let slot = Rc::clone(&self.slot);
        let engine = |error: Error| Failure::text(error.to_string());
        let (notify, restore) = self
            .context
            .with(|ctx| {
                let own = Rc::clone(&slot);
                let notify = Function::new(ctx.clone(), move || own.unrepeatable.set(true))?;
                let watch: Function<'_> = ctx.eval(WATCH)?;
                let restore: Function<'_> = watch.call((notify.clone(),))?;
                Ok((Persistent::save(&ctx, notify), Persistent::save(&ctx, restore)))
            })
            .map_err(engine)?;
        // Its closure lives outside of the memory that is put back, so no call may free it.
        self.watching = Some(notify);
        self.limit(budget.heap_bytes.max(LOADING_HEAP_BYTES), LOADING_STACK_BYTES, LOADING_TIME);
        let context = self.context.clone();
        let loaded = context.with(|ctx| self.module(&ctx, &normalised(entry)).map(drop));
        self.slot.deadline.set(None);
        let put_back = context.with(|ctx| restore.restore(&ctx)?.call::<_, ()>(()));
        if !self.slot.unrepeatable.get() {
            put_back.map_err(engine)?;
        }
        loaded
    }

    fn execute(&mut self, call: &Call<'_>) -> Result<AppReply, Failure> {
        let context = self.context.clone();
        let budget = *call.budget;
        context.with(|ctx| {
            self.limit(budget.heap_bytes.max(LOADING_HEAP_BYTES), LOADING_STACK_BYTES, LOADING_TIME);
            let module = self.module(&ctx, &normalised(call.module))?;
            let function = exported(&ctx, &module, call.module, call.function)?;
            self.handles
                .set_historical_state(&ctx, &self.slot, call.historical)
                .map_err(|error| self.failure(&ctx, &error))?;
            self.limit(budget.heap_bytes, budget.stack_bytes, budget.time);
            let returned = self
                .handles
                .body
                .clone()
                .restore(&ctx)
                .and_then(|body| call.request.to_js(&ctx, body))
                .and_then(|request| function.call::<_, Value<'_>>((request,)))
                .map_err(|error| self.failure(&ctx, &error))?;
            let returned = self.settled(&ctx, returned)?;
            read_reply(&ctx, &returned).map_err(|bad| self.bad_reply(&ctx, bad))
        })
    }

    /// The value itself or, for a promise, what it settles to.
    fn settled<'js>(&self, ctx: &Ctx<'js>, value: Value<'js>) -> Result<Value<'js>, Failure> {
        let Some(promise) = value.as_promise() else { return Ok(value) };
        for _ in 0..MAX_PENDING_JOBS {
            if promise.state() != PromiseState::Pending || self.slot.late() || !ctx.execute_pending_job() {
                break;
            }
        }
        match promise.result::<Value<'js>>() {
            Some(settled) => settled.map_err(|error| self.failure(ctx, &error)),
            None if self.slot.interrupted.get() => Err(Failure::TimedOut),
            None => Err(Failure::text("The returned promise never settles")),
        }
    }

    /// The name space of module `name`, evaluated if it is not yet.
    fn module<'js>(&mut self, ctx: &Ctx<'js>, name: &str) -> Result<Object<'js>, Failure> {
        if let Some(module) = self.modules.get(name) {
            return module.clone().restore(ctx).map_err(|error| Failure::text(error.to_string()));
        }
        let budget =
            Budget { heap_bytes: LOADING_HEAP_BYTES, stack_bytes: LOADING_STACK_BYTES, time: LOADING_TIME };
        match self.set.code(name, &budget) {
            None => return Err(Failure::text(format!("Module '{name}' could not be loaded"))),
            Some(Err(message)) => {
                return Err(Failure::text(format!("Failed to compile module '{name}': {message}")));
            }
            Some(Ok(_)) => {}
        }
        self.slot.load_failed.set(false);
        let imported = Module::import(ctx, name)
            .map_err(|error| self.failure(ctx, &error))
            .and_then(|promise| self.settled(ctx, promise.into_value()));
        let imported = imported.map_err(|failure| self.loading(name, failure))?;
        let module = imported
            .into_object()
            .ok_or_else(|| Failure::text(format!("Module '{name}' could not be loaded")))?;
        // What a call of a fresh interpreter evaluates is gone when its memory is put back.
        if !self.fresh || self.slot.host.borrow().is_none() {
            self.modules.insert(name.to_owned(), Persistent::save(ctx, module.clone()));
        }
        Ok(module)
    }

    /// Says at which step loading failed.
    fn loading(&self, name: &str, failure: Failure) -> Failure {
        let Failure::Exception { reason, trace } = failure else { return failure };
        let reason = if self.slot.load_failed.get() {
            format!("Failed to resolve dependencies for module '{name}': {reason}")
        } else {
            format!("Failed to execute {name}: {reason}")
        };
        Failure::Exception { reason: clipped(reason), trace }
    }

    fn failure(&self, ctx: &Ctx<'_>, error: &Error) -> Failure {
        if self.slot.interrupted.get() {
            drop(ctx.catch());
            return Failure::TimedOut;
        }
        if !matches!(error, Error::Exception) {
            return Failure::text(error.to_string());
        }
        let thrown = ctx.catch();
        let (reason, trace) = described(ctx, &thrown);
        // Describing a hostile exception may itself run the script (toString, toJSON).
        if self.slot.interrupted.get() {
            return Failure::TimedOut;
        }
        let reason = if reason == OVERFLOW { CCF_OVERFLOW.to_owned() } else { clipped(reason) };
        Failure::Exception { reason, trace: trace.map(clipped) }
    }

    fn bad_reply(&self, ctx: &Ctx<'_>, bad: BadReply) -> Failure {
        match bad.error.map(|error| self.failure(ctx, &error)) {
            Some(Failure::TimedOut) => Failure::TimedOut,
            Some(Failure::Exception { reason, trace }) => {
                Failure::BadReply { message: bad.message, thrown: Some((reason, trace)) }
            }
            _ => Failure::BadReply { message: bad.message, thrown: None },
        }
    }
}

fn exported<'js>(
    ctx: &Ctx<'js>,
    module: &Object<'js>,
    module_name: &str,
    name: &str,
) -> Result<Function<'js>, Failure> {
    let value: Value<'js> = module.get(name).catch(ctx).map_err(|error| {
        Failure::text(format!("Failed to find export '{name}' in module '{module_name}': {error}"))
    })?;
    if value.is_undefined() {
        return Err(Failure::text(format!("Failed to find export '{name}' in module '{module_name}'")));
    }
    Function::from_value(value)
        .map_err(|_| Failure::text(format!("Export '{name}' of module '{module_name}' is not a function")))
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("image_bytes", &self.image_bytes()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}
