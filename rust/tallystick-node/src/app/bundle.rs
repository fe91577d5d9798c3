//! What governance installed, read once per version: endpoints, modules, options.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use parking_lot::RwLock;
use serde::Deserialize;
use tallystick_js::Budget;
use tallystick_js::app::ModuleSet;

use super::auth::Policy;
use super::pool::Pools;
use super::route::Template;
use crate::kv::{Map, State};

/// Table of endpoints: `VERB /path` to properties.
const ENDPOINTS: &str = "public:ccf.gov.endpoints";
/// Table of modules: name to source.
const MODULES: &str = "public:ccf.gov.modules";
/// Table of options, one row.
const OPTIONS: &str = "public:ccf.gov.js_runtime_options";
/// Table that changes when interpreters must not be reused any more, one row.
pub(super) const FLUSH: &str = "public:ccf.gov.interpreter.flush";
/// Table of the service's own facts, one row.
const SERVICE_INFO: &str = "public:ccf.gov.service.info";
/// Key of tables with one row.
pub(super) const SINGLETON: [u8; 8] = [0; 8];
/// Most interpreters kept for reuse, whatever the options say: each may hold its whole heap.
const MAX_CACHED_INTERPRETERS: usize = 1000;
/// Longest execution, whatever the options say: a thread is held for as long.
const MAX_EXECUTION: Duration = Duration::from_secs(600);
/// Largest heap, whatever the options say: address space is reserved for it.
const MAX_HEAP_BYTES: usize = 16 << 30;

/// What an endpoint may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    ReadWrite,
    #[default]
    ReadOnly,
    Historical,
}

/// A row of the endpoints table. What matters only between nodes is not read.
#[derive(Debug, Default, Deserialize)]
struct Properties {
    #[serde(default)]
    js_module: String,
    #[serde(default)]
    js_function: String,
    #[serde(default)]
    authn_policies: Vec<serde_json::Value>,
    #[serde(default = "read_write")]
    mode: Mode,
    #[serde(default = "to_primary")]
    redirection_strategy: String,
    #[serde(default)]
    interpreter_reuse: Option<Reuse>,
}

#[derive(Debug, Deserialize)]
struct Reuse {
    key: String,
}

fn to_primary() -> String {
    "to_primary".to_owned()
}

fn read_write() -> Mode {
    Mode::ReadWrite
}

/// An endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Template with `/app`.
    pub(super) route: String,
    pub(super) verb: Method,
    pub(super) module: String,
    pub(super) function: String,
    /// Policies, or why they cannot be applied.
    pub(super) policies: Result<Vec<Policy>, String>,
    pub(super) mode: Mode,
    /// Where a node that is not the right one sends clients.
    pub(super) redirects_to: String,
    pub(super) reuse: Option<String>,
}

/// The endpoints of one path.
#[derive(Debug, Default)]
struct Verbs(Vec<Endpoint>);

impl Verbs {
    fn find(&self, verb: &Method) -> Option<&Endpoint> {
        self.0.iter().find(|endpoint| endpoint.verb == *verb)
    }
}

/// An endpoint that a request is for, and the values in its path.
pub(super) struct Found<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) params: Vec<(String, String)>,
}

/// An application as it was installed.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    exact: HashMap<String, Verbs>,
    templates: Vec<(Template, String, Verbs)>,
    pub(super) modules: Arc<ModuleSet>,
    pub(super) pools: Pools,
}

impl Bundle {
    fn read(state: &State) -> Self {
        let mut exact: HashMap<String, Verbs> = HashMap::new();
        for (path, endpoint) in endpoints(state) {
            exact.entry(path).or_default().0.push(endpoint);
        }
        let mut templates = Vec::new();
        let paths: Vec<String> = exact.keys().cloned().collect();
        for path in paths {
            // A malformed template stands for itself: nobody asks for such a path.
            if let Ok(Some(template)) = Template::parse(&path) {
                let verbs = exact.remove(&path).unwrap_or_default();
                templates.push((template, path, verbs));
            }
        }
        let modules = state.map(MODULES).map(|map| {
            let rows = map.iter().map(|(name, found)| (text(name), found.value.clone()));
            Arc::new(ModuleSet::new(rows))
        });
        Self { exact, templates, modules: modules.unwrap_or_default(), pools: Pools::default() }
    }

    /// The endpoint for a verb and a path.
    ///
    /// # Errors
    /// Text, when several templates match.
    pub(super) fn find(&self, verb: &Method, path: &str) -> Result<Option<Found<'_>>, String> {
        if let Some(endpoint) = self.exact.get(path).and_then(|verbs| verbs.find(verb)) {
            return Ok(Some(Found { endpoint, params: Vec::new() }));
        }
        let mut found = None;
        let mut matching = Vec::new();
        for (template, text, verbs) in &self.templates {
            let Some(endpoint) = verbs.find(verb) else { continue };
            if let Some(params) = template.matches(path) {
                matching.push(text.as_str());
                found = Some(Found { endpoint, params });
            }
        }
        if matching.len() > 1 {
            matching.sort_unstable();
            return Err(format!("Multiple endpoints match path {path}: {}", matching.join(", ")));
        }
        Ok(found)
    }

    /// The verbs that a path has, ascending.
    pub(super) fn verbs(&self, path: &str) -> Vec<&str> {
        let exact = self.exact.get(path).into_iter();
        let templates = self.templates.iter().filter(|(template, ..)| template.matches(path).is_some());
        let mut verbs: Vec<&str> = exact
            .chain(templates.map(|(.., verbs)| verbs))
            .flat_map(|verbs| verbs.0.iter().map(|endpoint| endpoint.verb.as_str()))
            .collect();
        verbs.sort_unstable();
        verbs.dedup();
        verbs
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every endpoint with its path. A row that cannot be read is an endpoint that says so, and spoils no other; one
/// whose key is no verb and path cannot be asked for.
fn endpoints(state: &State) -> Vec<(String, Endpoint)> {
    let mut all = Vec::new();
    for (key, found) in state.map(ENDPOINTS).into_iter().flat_map(Map::iter) {
        let key = text(key);
        let Some((verb, path)) = key.split_once(' ') else { continue };
        let Ok(verb) = Method::from_bytes(verb.as_bytes()) else { continue };
        let properties = serde_json::from_slice::<Properties>(&found.value);
        let failure =
            properties.as_ref().err().map(|error| format!("Failed to read endpoint {key}: {error}"));
        let properties = properties.unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let endpoint = Endpoint {
            route: format!("/app{path}"),
            verb,
            module: properties.js_module,
            function: properties.js_function,
            policies: match failure {
                Some(failure) => Err(failure),
                None => properties.authn_policies.iter().map(Policy::parse).collect(),
            },
            mode: properties.mode,
            redirects_to: properties.redirection_strategy,
            reuse: properties.interpreter_reuse.map(|reuse| reuse.key),
        };
        all.push((path, endpoint));
    }
    all
}

/// A row of the options table.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Options {
    #[serde(default = "default_heap")]
    max_heap_bytes: u64,
    #[serde(default = "default_stack")]
    max_stack_bytes: u64,
    #[serde(default = "default_time")]
    max_execution_time_ms: u64,
    #[serde(default)]
    pub(super) log_exception_details: bool,
    #[serde(default)]
    pub(super) return_exception_details: bool,
    #[serde(default = "default_interpreters")]
    max_cached_interpreters: u64,
}

fn default_heap() -> u64 {
    100 << 20
}
fn default_stack() -> u64 {
    1 << 20
}
fn default_time() -> u64 {
    5000
}
fn default_interpreters() -> u64 {
    10
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_heap_bytes: default_heap(),
            max_stack_bytes: default_stack(),
            max_execution_time_ms: default_time(),
            log_exception_details: false,
            return_exception_details: false,
            max_cached_interpreters: default_interpreters(),
        }
    }
}

impl Options {
    /// What a call may use.
    pub(super) fn budget(&self) -> Budget {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Budget {
            heap_bytes: size(self.max_heap_bytes).min(MAX_HEAP_BYTES),
            stack_bytes: size(self.max_stack_bytes),
            time: Duration::from_millis(self.max_execution_time_ms).min(MAX_EXECUTION),
        }
    }

    /// Most interpreters to keep for reuse.
    pub(super) fn cached_interpreters(&self) -> usize {
        usize::try_from(self.max_cached_interpreters).unwrap_or(usize::MAX).min(MAX_CACHED_INTERPRETERS)
    }
}

/// Everything that a request needs to know, as of one version.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    versions: Versions,
    pub(super) bundle: Arc<Bundle>,
    pub(super) options: Options,
    /// Whether users are served.
    pub(super) open: bool,
}

/// Versions of the tables that a [`Snapshot`] was read from. A version is a seqno, which another view may use
/// again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Versions {
    view: u64,
    endpoints: u64,
    modules: u64,
    flush: u64,
    options: u64,
    service: u64,
}

impl Versions {
    fn of(state: &State) -> Self {
        let version = |name: &str| state.map(name).map_or(0, Map::version);
        Self {
            view: state.view(),
            endpoints: version(ENDPOINTS),
            modules: version(MODULES),
            flush: version(FLUSH),
            options: version(OPTIONS),
            service: version(SERVICE_INFO),
        }
    }

    fn same_bundle(&self, other: &Self) -> bool {
        let bundle = |versions: &Self| (versions.view, versions.endpoints, versions.modules, versions.flush);
        bundle(self) == bundle(other)
    }
}

/// The snapshot read last.
#[derive(Debug, Default)]
pub(super) struct Cache(RwLock<Arc<Snapshot>>);

impl Cache {
    /// The snapshot that belongs to `state`.
    ///
    /// # Errors
    /// Text, when the tables do not hold an application.
    pub(super) fn get(&self, state: &State) -> Result<Arc<Snapshot>, String> {
        let versions = Versions::of(state);
        let last = Arc::clone(&self.0.read());
        if last.versions == versions {
            return Ok(last);
        }
        let bundle = if last.versions.same_bundle(&versions) {
            Arc::clone(&last.bundle)
        } else {
            Arc::new(Bundle::read(state))
        };
        let row =
            |name: &str| state.map(name).and_then(|map| map.get(&SINGLETON)).map(|found| found.value.clone());
        let options = row(OPTIONS)
            .map(|row| {
                serde_json::from_slice(&row)
                    .map_err(|error| format!("Failed to read runtime options: {error}"))
            })
            .transpose()?
            .unwrap_or_default();
        let status = row(SERVICE_INFO).and_then(|row| serde_json::from_slice::<serde_json::Value>(&row).ok());
        let open = status.as_ref().and_then(|info| info.get("status")).is_some_and(|status| status == "Open");
        let snapshot = Arc::new(Snapshot { versions, bundle, options, open });
        *self.0.write() = Arc::clone(&snapshot);
        Ok(snapshot)
    }
}
