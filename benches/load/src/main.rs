//! The load client of the benches.
//!
//! Reads one plan as JSON from standard input, runs it against one node, and writes one result as JSON to standard
//! output, so that the same client, at the same cost, measures every node. One thread per connection, blocking
//! sockets: what the client itself needs of a processor stays small beside what a node needs.

mod connection;
mod plan;
mod run;

use std::io::Read;
use std::process::ExitCode;

/// What can go wrong; any of these ends a run, since a figure with failures in it would compare nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The plan is not what this client understands.
    #[error("the plan: {0}")]
    Plan(String),
    /// A socket or a file failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// The node answered something that is not HTTP/1.1 with a content length.
    #[error("the node's answer: {0}")]
    Http(String),
    /// A thread of the client ended in a panic.
    #[error("a connection's thread ended abnormally")]
    Thread,
}

fn main() -> ExitCode {
    match measured() {
        Ok(result) => {
            use std::io::Write;
            match writeln!(std::io::stdout(), "{result}") {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            use std::io::Write;
            // Nothing is left to be done about a standard error that cannot be written to.
            let _unwritten = writeln!(std::io::stderr(), "tallystick-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measured() -> Result<serde_json::Value, LoadError> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let plan: plan::Plan = serde_json::from_str(&text).map_err(|error| LoadError::Plan(error.to_string()))?;
    run::run(&plan)
}
