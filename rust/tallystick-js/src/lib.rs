//! JavaScript as CCF runs it: modules in QuickJS, each call in a fresh context under a budget.
//!
//! Layers, each usable without the next: [`engine`] compiles and calls one exported function under
//! limits of time, heap and stack, with no I/O at all; [`api`] installs the `ccf` global, whose functions
//! reach the world only through a [`api::Host`]; [`governance`] runs the functions of a constitution and
//! the ballots of one proposal over a snapshot of public tables. Nothing here decides what a result means.
//!
//! Source of the contract: CCF's governance documentation (constitution, read/write restrictions) and
//! `formats.md` section 11.

pub mod api;
mod api_crypto;
pub mod app;
pub mod calls;
mod constitution;
pub mod crypto;
pub mod engine;
pub mod governance;
pub mod live;
pub mod pool;
pub mod tables;

pub use engine::{Budget, FailureKind, Program, ScriptFailure};
