//! Bounds the bytes that a scan holds, however large the ledger is.
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct State {
    in_flight: usize,
    free: Vec<Vec<u8>>,
    closed: bool,
}

/// Buffers on their way from the framer to the fold, and those that came back.
#[derive(Debug)]
pub(super) struct Budget {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
}

impl Budget {
    /// At most `limit` bytes in flight, or a single buffer that is larger.
    pub fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room; `None` once the scan is closed.
    pub fn take(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut state = self.lock();
        while !state.closed && state.in_flight > 0 && state.in_flight + bytes > self.limit {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        state.in_flight += bytes;
        let recycled = state.free.pop().filter(|buffer| buffer.len() == bytes);
        drop(state);
        Some(recycled.unwrap_or_else(|| vec![0; bytes]))
    }

    /// Makes `buffer`, which came from [`Budget::take`], larger; waits for room as long as others hold some.
    pub fn grow(&self, buffer: &mut Vec<u8>, bytes: usize) {
        let more = bytes.saturating_sub(buffer.len());
        let mut state = self.lock();
        while !state.closed && state.in_flight > buffer.len() && state.in_flight + more > self.limit {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_flight += more;
        drop(state);
        buffer.resize(bytes.max(buffer.len()), 0);
    }

    /// Takes a buffer back. One that is not of the usual size is dropped.
    pub fn give_back(&self, buffer: Vec<u8>, usual: usize) {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(buffer.len());
        if buffer.len() == usual {
            state.free.push(buffer);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Lets nobody wait any longer.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}
