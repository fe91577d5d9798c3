//! Interpreters between calls.
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tallystick_js::Budget;
use tallystick_js::app::{Failure, Machine, ModuleSet};

/// Most idle interpreters in total: each holds a copy of its memory.
const MAX_IDLE: usize = 64;

/// Interpreters of one bundle. They go when the bundle does.
#[derive(Debug, Default)]
pub(super) struct Pools {
    idle: Mutex<Vec<(String, Machine)>>,
    reused: Mutex<Reused>,
}

/// Interpreters that keep their globals, by key; each is used by one request at a time.
#[derive(Debug, Default)]
struct Reused {
    by_key: HashMap<String, (u64, Arc<Mutex<Machine>>)>,
    clock: u64,
}

impl Reused {
    /// Drops those that were not used for longest, until `most` are left.
    fn trim(&mut self, most: usize) {
        while self.by_key.len() > most {
            let oldest = self.by_key.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.by_key.remove(&oldest);
        }
    }
}

impl Pools {
    /// Runs `body` in an interpreter in which `module` was just evaluated, and nothing else happened.
    pub(super) fn fresh<R>(
        &self,
        modules: &Arc<ModuleSet>,
        module: &str,
        budget: &Budget,
        body: impl FnOnce(&mut Machine) -> R,
    ) -> Result<R, Failure> {
        let taken = {
            let mut idle = self.idle.lock();
            // The one given back last is the one whose memory is still near.
            let at = idle.iter().rposition(|(name, _)| name == module);
            at.map(|at| idle.swap_remove(at).1)
        };
        let mut machine = match taken {
            Some(machine) => machine,
            None => Machine::fresh(modules, module, budget)?,
        };
        let result = body(&mut machine);
        let dropped = {
            let mut idle = self.idle.lock();
            let dropped = (idle.len() >= MAX_IDLE).then(|| idle.swap_remove(0));
            idle.push((module.to_owned(), machine));
            dropped
        };
        drop(dropped);
        Ok(result)
    }

    /// Runs `body` in the interpreter of `key`, waiting for it if another request has it.
    pub(super) fn reused<R>(
        &self,
        modules: &Arc<ModuleSet>,
        key: &str,
        limit: usize,
        budget: &Budget,
        body: impl FnOnce(&mut Machine) -> R,
    ) -> Result<R, Failure> {
        if limit == 0 {
            return Ok(body(&mut Machine::reusable(modules, budget)?));
        }
        let machine = {
            let mut reused = self.reused.lock();
            // The limit may have been lowered since.
            reused.trim(limit);
            reused.clock += 1;
            let now = reused.clock;
            if let Some((used, machine)) = reused.by_key.get_mut(key) {
                *used = now;
                Arc::clone(machine)
            } else {
                let machine = Arc::new(Mutex::new(Machine::reusable(modules, budget)?));
                reused.trim(limit - 1);
                reused.by_key.insert(key.to_owned(), (now, Arc::clone(&machine)));
                machine
            }
        };
        let mut machine = machine.lock();
        Ok(body(&mut machine))
    }
}
