//! Interpreters between calls.
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};
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

/// Interpreters that keep their globals, by key.
#[derive(Debug, Default)]
struct Reused {
    by_key: HashMap<String, (u64, Arc<Keyed>)>,
    clock: u64,
}

/// The interpreters of one key, each used by one request at a time. Requests that come one after the other find the
/// globals as the last one left them; those that come together have interpreters of their own, so that they do not wait
/// for each other while processors are idle.
#[derive(Debug, Default)]
struct Keyed {
    slots: Mutex<Slots>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct Slots {
    /// The one used last is at the end.
    idle: Vec<Machine>,
    /// How many there are, idle or not.
    made: usize,
}

impl Keyed {
    /// An idle interpreter, or room for another one.
    fn take(self: &Arc<Self>) -> (Option<Machine>, Room) {
        let mut slots = self.slots.lock();
        let machine = loop {
            if let Some(machine) = slots.idle.pop() {
                break Some(machine);
            }
            if slots.made < most_at_once() {
                slots.made += 1;
                break None;
            }
            self.given_back.wait(&mut slots);
        };
        (machine, Room { keyed: Arc::clone(self), kept: false })
    }
}

/// More would only take turns.
fn most_at_once() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get))
}

/// The place of one interpreter of a key. Dropped without one, it is free for another.
struct Room {
    keyed: Arc<Keyed>,
    kept: bool,
}

impl Room {
    fn give_back(mut self, machine: Machine) {
        self.keyed.slots.lock().idle.push(machine);
        self.kept = true;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.kept {
            self.keyed.slots.lock().made -= 1;
        }
        self.keyed.given_back.notify_one();
    }
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

    /// Runs `body` in an interpreter of `key`, waiting for one if other requests have as many as there are processors.
    /// `limit` keys at most keep theirs.
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
        let keyed = {
            let mut reused = self.reused.lock();
            // The limit may have been lowered since.
            reused.trim(limit);
            reused.clock += 1;
            let now = reused.clock;
            if let Some((used, keyed)) = reused.by_key.get_mut(key) {
                *used = now;
                Arc::clone(keyed)
            } else {
                let keyed = Arc::<Keyed>::default();
                reused.trim(limit - 1);
                reused.by_key.insert(key.to_owned(), (now, Arc::clone(&keyed)));
                keyed
            }
        };
        let (idle, room) = keyed.take();
        let mut machine = match idle {
            Some(machine) => machine,
            None => Machine::reusable(modules, budget)?,
        };
        let result = body(&mut machine);
        room.give_back(machine);
        Ok(result)
    }
}
