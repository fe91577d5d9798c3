//! Formats and verification primitives for ledgers of the Confidential Consortium Framework (CCF).
//!
//! This crate parses hostile bytes. Its rules:
//!
//! 1. Parsers are total: no panic, no recursion without a limit, no allocation that is not bounded by
//!    the size of the input at hand.
//! 2. Nothing here decides what is trusted. Keys come in as arguments; facts go out.
//! 3. No Python, no sockets, no clock.
#![forbid(unsafe_code)]

pub mod cbor;
pub mod cose;
pub mod error;
pub mod export;
pub mod hash;
pub mod json;
pub mod ledger;
pub mod limits;
pub mod merkle;
pub mod reader;
pub mod receipt;
pub mod scan;
pub mod secrets;
pub mod signature;
pub mod sigtx;
pub mod snapshot;
pub mod types;
pub mod x509;
