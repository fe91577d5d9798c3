//! Applications: handlers of requests, over the modules that governance installed.
//!
//! A handler runs in an interpreter that nothing has used before. Making one takes a hundred microseconds, so
//! a [`Machine`] makes it once, up to the moment at which the handler is called, keeps an image of its memory,
//! and returns to that image after each call. Evaluating the modules is part of the image only if it used
//! nothing that another evaluation could find changed. Interpreters that an application asked to be reused
//! are not put back.

mod arena;
mod bounds;
mod globals;
mod host;
mod kv;
mod machine;
mod modules;
mod request;

pub use host::{AppHost, HistoricalState, LogLevel};
pub use machine::{Call, Executed, Failure, Machine, THREAD_STACK_BYTES};
pub use modules::ModuleSet;
pub use request::{AppReply, AppRequest, Data};
