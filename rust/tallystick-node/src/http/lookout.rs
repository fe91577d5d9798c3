//! Somebody looks at the sockets although every thread may be busy.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How long nobody may look at the sockets while handlers hold threads.
const LOOKOUT_INTERVAL: Duration = Duration::from_millis(5);

/// Has the sockets looked at while handlers run.
///
/// The thread that watched the sockets also runs what they woke. When that is a handler which takes long, none of the
/// idle threads takes over the watch, because none of them wakes: not a connection would be accepted meanwhile. An
/// empty task wakes one, and before that thread sleeps again it looks at the sockets.
#[derive(Debug)]
pub(super) struct Lookout {
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Lookout {
    pub(super) fn start(runtime: tokio::runtime::Handle, busy: Arc<AtomicUsize>) -> std::io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let watch = move || {
            while !end.load(Ordering::Relaxed) {
                thread::park_timeout(LOOKOUT_INTERVAL);
                if busy.load(Ordering::Relaxed) > 0 {
                    drop(runtime.spawn(async {}));
                }
            }
        };
        let thread = thread::Builder::new().name("http-lookout".to_owned()).spawn(watch)?;
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

/// Counts a handler that runs.
pub(super) struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
