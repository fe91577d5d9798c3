//! What to ask of which node.

use serde::Deserialize;

/// One run, as it stands on standard input.
#[derive(Debug, Deserialize)]
pub(crate) struct Plan {
    /// `host:port`; the host is an IP address.
    pub(crate) address: String,
    /// PEM file of the service's certificate, the trust root.
    pub(crate) ca: String,
    /// PEM file of the client's certificate.
    pub(crate) certificate: String,
    /// PEM file of the client's key, PKCS#8.
    pub(crate) key: String,
    /// What is measured.
    #[serde(flatten)]
    pub(crate) work: Work,
}

/// What is measured.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Work {
    /// As many requests as go through in a time.
    Requests {
        /// Connections, each with a thread of its own.
        connections: usize,
        /// Requests that each connection keeps unanswered.
        depth: usize,
        /// How long, in seconds. Ignored where `total` is given.
        #[serde(default)]
        seconds: f64,
        /// How many requests in all, instead of a time.
        total: Option<u64>,
        /// HTTP method.
        method: String,
        /// Path and query; `{n}` stands for a number below `keys`.
        path: String,
        /// Body, with `{n}` likewise; empty for none.
        #[serde(default)]
        body: String,
        /// How many different numbers `{n}` takes.
        keys: u64,
    },
    /// Each of these asked for until the answer is 200, one after the other.
    Until {
        /// Paths and queries, asked with GET.
        paths: Vec<String>,
        /// Seconds after which one is given up.
        patience: f64,
    },
    /// Writes, each followed by questions for its status until it is committed.
    Commit {
        /// Path of the write, a POST.
        path: String,
        /// Its body, `{n}` as above.
        body: String,
        /// How many writes.
        times: u64,
    },
}
