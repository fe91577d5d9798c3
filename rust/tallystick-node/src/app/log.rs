//! Log lines of applications on an open file, in the two layouts of the node's other lines.
//!
//! A busy application causes tens of thousands of lines a second. Handlers only queue them; one thread writes
//! what has gathered, many lines at a time.
//!
//! Applications repeat what clients sent. In text a line of the log is what begins in the first column, so further
//! lines of a message are indented and control characters are spelled out, as in the node's other lines.
use std::borrow::Cow;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use serde_json::json;
use time::OffsetDateTime;

use super::{AppLog, LogLevel};

/// Lines that may wait. More are counted and left out: a log must not hold up requests.
const MAX_WAITING: usize = 1 << 16;
/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(20);
/// Width of the part of a text line that holds level, tag and place, before the bar.
const PREAMBLE: usize = 45;
/// What the further lines of a message begin with.
const CONTINUED: &str = "\n        ";
/// The number under which lines of applications appear among the node's threads.
const THREAD: u32 = 100;

struct Line {
    at: SystemTime,
    tag: &'static str,
    level: LogLevel,
    text: String,
}

/// Lines between those who say them and the thread that writes them.
#[derive(Default)]
struct Waiting {
    lines: Vec<Line>,
    lost: u64,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Told of the first line after none, and of the end.
    changed: Condvar,
}

/// Writes lines until it is dropped.
pub struct LineLog {
    queue: Arc<Queue>,
    least: LogLevel,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for LineLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineLog").field("least", &self.least).finish_non_exhaustive()
    }
}

fn weight(level: LogLevel) -> u8 {
    match level {
        LogLevel::Info => 0,
        LogLevel::Fail => 1,
        LogLevel::Fatal => 2,
    }
}

fn name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Info => "info",
        LogLevel::Fail => "fail",
        LogLevel::Fatal => "fatal",
    }
}

impl LineLog {
    /// Writes lines of at least level `least` to `file`, as JSON objects if `as_json`.
    ///
    /// # Errors
    /// The writing thread cannot be started.
    pub fn start(file: File, least: LogLevel, as_json: bool) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let own = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("app-log".into())
            .spawn(move || write_lines(file, &own, as_json))?;
        Ok(Self { queue, least, thread: Some(thread) })
    }
}

impl Drop for LineLog {
    fn drop(&mut self) {
        self.queue.waiting.lock().closed = true;
        self.queue.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl AppLog for LineLog {
    fn line(&self, tag: &'static str, level: LogLevel, text: &str) {
        let line = Line { at: SystemTime::now(), tag, level, text: text.to_owned() };
        let mut waiting = self.queue.waiting.lock();
        if waiting.lines.len() >= MAX_WAITING {
            waiting.lost += 1;
            return;
        }
        waiting.lines.push(line);
        if waiting.lines.len() == 1 {
            self.queue.changed.notify_one();
        }
    }

    fn wants(&self, level: LogLevel) -> bool {
        weight(level) >= weight(self.least)
    }
}

fn write_lines(mut file: File, queue: &Queue, as_json: bool) {
    let mut text = String::new();
    loop {
        let mut waiting = queue.waiting.lock();
        while waiting.lines.is_empty() && !waiting.closed {
            queue.changed.wait(&mut waiting);
        }
        if waiting.lines.is_empty() {
            return;
        }
        if !waiting.closed {
            // More lines are about to come; each that woke this thread would cost more than it says.
            queue.changed.wait_for(&mut waiting, GATHER);
        }
        let lines = std::mem::take(&mut waiting.lines);
        let lost = std::mem::take(&mut waiting.lost);
        drop(waiting);
        for line in &lines {
            append(&mut text, line, as_json);
        }
        if lost > 0 {
            let said = format!("{lost} log lines were left out because too many waited");
            let line = Line { at: SystemTime::now(), tag: "app", level: LogLevel::Fail, text: said };
            append(&mut text, &line, as_json);
        }
        // Nobody reads the log any more. A node does not stop for that, and has nowhere else to say so.
        let _ = file.write_all(text.as_bytes());
        text.clear();
    }
}

fn append(out: &mut String, line: &Line, as_json: bool) {
    let since = line.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let moment = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second(),
        since.subsec_micros()
    );
    let (level, tag) = (name(line.level), line.tag);
    if as_json {
        let object = json!({
            "h_ts": moment, "thread_id": THREAD.to_string(), "level": level, "tag": tag,
            "file": "app.js", "number": "0", "msg": line.text,
        });
        out.push_str(&object.to_string());
    } else {
        let preamble = format!("[{level:<5}][{tag}] app.js:0");
        let shown = shown(&line.text);
        out.push_str(&format!("{moment}        {THREAD:<3} {preamble:<PREAMBLE$}| {shown}"));
    }
    out.push('\n');
}

/// Controls, and what changes the direction of text or hides in it.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str(CONTINUED),
            '\t' => out.push_str("    "),
            '\r' => out.push_str("\\r"),
            hidden if is_hidden(hidden) => match u32::from(hidden) {
                code @ ..0x100 => out.push_str(&format!("\\x{code:02x}")),
                code => out.push_str(&format!("\\u{code:04x}")),
            },
            plain => out.push(plain),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn writes_every_line_before_it_ends() {
        let path = std::env::temp_dir().join(format!("tallystick-app-log-{}", std::process::id()));
        let written = (|| {
            let log = LineLog::start(File::create(&path)?, LogLevel::Fail, false)?;
            assert!(log.wants(LogLevel::Fatal) && !log.wants(LogLevel::Info));
            for number in 0..1000 {
                log.line("app", LogLevel::Fail, &format!("line {number}"));
            }
            drop(log);
            std::fs::read_to_string(&path)
        })();
        let _ = std::fs::remove_file(&path);
        let text = written.unwrap_or_default();
        assert_eq!(text.lines().count(), 1000);
        assert!(text.ends_with("| line 999\n"));
    }

    #[test]
    fn a_message_does_not_begin_a_line_of_its_own() {
        let text =
            "none\n2023-11-14T22:13:20.123456Z        0   [fatal] forged\r\u{1b}[2J\u{202e}\tü".to_owned();
        let line = Line { at: UNIX_EPOCH, tag: "app", level: LogLevel::Info, text };
        let mut out = String::new();
        append(&mut out, &line, false);
        let lines = out.lines().collect::<Vec<_>>();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("| none"));
        assert_eq!(
            lines[1],
            "        2023-11-14T22:13:20.123456Z        0   [fatal] forged\\r\\x1b[2J\\u202e    ü"
        );
    }

    #[test]
    fn lines_have_the_layout_of_the_others() {
        let line = Line {
            at: UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
            tag: "app",
            level: LogLevel::Fail,
            text: "a \"b\"".into(),
        };
        let mut text = String::new();
        append(&mut text, &line, false);
        assert_eq!(
            text,
            "2023-11-14T22:13:20.123456Z        100 [fail ][app] app.js:0                        | a \"b\"\n"
        );
        text.clear();
        append(&mut text, &line, true);
        let object: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!((object["level"].as_str(), object["msg"].as_str()), (Some("fail"), Some("a \"b\"")));
    }
}
