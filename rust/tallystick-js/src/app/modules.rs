//! The modules of an application: source by name, compiled once.
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::{Declared, WriteOptions};
use rquickjs::{Ctx, Error, Exception, Module, Result, Runtime};

use super::host::SharedSlot;
use crate::engine::{Budget, MAX_SOURCE_BYTES, described, new_context};

/// Longest path that an import may resolve to, bytes.
const MAX_PATH_BYTES: usize = 4096;

/// One module.
#[derive(Debug)]
struct Source {
    text: Bytes,
    code: OnceLock<std::result::Result<Arc<[u8]>, String>>,
}

/// All modules of one version of an application, by name with a leading `/`.
#[derive(Debug, Default)]
pub struct ModuleSet {
    sources: HashMap<String, Source>,
}

impl ModuleSet {
    /// Takes modules by name and source.
    pub fn new(modules: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        let sources = modules
            .into_iter()
            .map(|(name, text)| (normalised(&name), Source { text, code: OnceLock::new() }))
            .collect();
        Self { sources }
    }

    /// Whether there is a module of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.sources.contains_key(name)
    }

    /// Bytecode of `name`; `None` when there is no such module.
    ///
    /// # Errors
    /// Text of the exception: the source does not parse, or is not text.
    pub(super) fn code(&self, name: &str, budget: &Budget) -> Option<std::result::Result<Arc<[u8]>, String>> {
        let source = self.sources.get(name)?;
        Some(source.code.get_or_init(|| compile(name, &source.text, budget)).clone())
    }
}

/// The name under which a module is stored.
pub(super) fn normalised(name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("/{name}") }
}

/// Compiles one module in a runtime of its own, in which every import resolves to nothing.
fn compile(name: &str, text: &[u8], budget: &Budget) -> std::result::Result<Arc<[u8]>, String> {
    struct Nothing;
    impl Resolver for Nothing {
        fn resolve<'js>(
            &mut self,
            _: &Ctx<'js>,
            _: &str,
            name: &str,
            _: Option<ImportAttributes<'js>>,
        ) -> Result<String> {
            Ok(name.to_owned())
        }
    }
    impl Loader for Nothing {
        fn load<'js>(
            &mut self,
            ctx: &Ctx<'js>,
            name: &str,
            _: Option<ImportAttributes<'js>>,
        ) -> Result<Module<'js, Declared>> {
            Module::declare(ctx.clone(), name, "")
        }
    }
    if text.len() > MAX_SOURCE_BYTES {
        return Err(format!("the source has {} bytes, the limit is {MAX_SOURCE_BYTES}", text.len()));
    }
    let engine = |error: Error| error.to_string();
    let runtime = Runtime::new().map_err(engine)?;
    runtime.set_memory_limit(budget.heap_bytes.max(text.len().saturating_mul(32)));
    runtime.set_max_stack_size(budget.stack_bytes);
    runtime.set_loader(Nothing, Nothing);
    let context = new_context(&runtime).map_err(engine)?;
    context.with(|ctx| {
        let written =
            Module::declare(ctx.clone(), name, text).and_then(|module| module.write(WriteOptions::default()));
        written.map(Arc::from).map_err(|error| match error {
            Error::Exception => described(&ctx, &ctx.catch()).0,
            error => error.to_string(),
        })
    })
}

/// Resolves and loads the modules of a [`ModuleSet`] into an interpreter.
pub(super) struct SetLoader {
    pub(super) modules: Arc<ModuleSet>,
    pub(super) slot: SharedSlot,
    pub(super) budget: Budget,
}

/// Resolves imports relative to the importing module.
pub(super) struct PathResolver;

impl Resolver for PathResolver {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        if base.len() + name.len() > MAX_PATH_BYTES {
            return Err(Exception::throw_reference(ctx, "the path of an import is too long"));
        }
        Ok(resolved(base, name))
    }
}

/// The stored name that `name` means inside the module `base`.
fn resolved(base: &str, name: &str) -> String {
    if !name.starts_with('.') {
        return normalised(name);
    }
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    format!("/{}", path.join("/"))
}

impl Loader for SetLoader {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        match self.modules.code(name, &self.budget) {
            // SAFETY: the bytes come from `Module::write` of this very engine, in this process, and cannot be
            // changed in between: a `ModuleSet` hands them out to nobody else.
            Some(Ok(code)) => unsafe { Module::load(ctx.clone(), &code) },
            Some(Err(message)) => {
                self.slot.load_failed.set(true);
                Err(Exception::throw_syntax(ctx, &format!("Failed to compile module '{name}': {message}")))
            }
            None => {
                self.slot.load_failed.set(true);
                Err(Exception::throw_reference(ctx, &format!("Could not load module '{name}'")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::resolved;

    #[test]
    fn resolves_paths_relative_to_the_importing_module() {
        for (base, name, expected) in [
            ("/endpoints/a.js", "./b.js", "/endpoints/b.js"),
            ("/endpoints/a.js", "../lib/b.js", "/lib/b.js"),
            ("/a.js", "../../b.js", "/b.js"),
            ("/x/a.js", "lib/b.js", "/lib/b.js"),
            ("/x/a.js", "/lib/b.js", "/lib/b.js"),
            ("/x/y/a.js", "./../z/./b.js", "/x/z/b.js"),
        ] {
            assert_eq!(resolved(base, name), expected, "{name} in {base}");
        }
    }
}
