//! Runs a plan and sums it up.

use std::collections::{BTreeMap, VecDeque};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::LoadError;
use crate::connection::{Connection, Target};
use crate::plan::{Plan, Work};

/// Between two questions for the same receipt or status: short beside what is measured, long beside a round trip.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Runs a plan; figures are in microseconds and seconds.
pub(crate) fn run(plan: &Plan) -> Result<Value, LoadError> {
    let target = Target::new(plan)?;
    match &plan.work {
        Work::Requests { connections, depth, seconds, total, method, path, body, keys } => {
            let shape = Shape { method, path, body, keys: (*keys).max(1), host: &plan.address };
            let end = total.map_or(End::After(Duration::from_secs_f64(*seconds)), |total| {
                End::Count(total / u64::try_from(*connections).unwrap_or(1).max(1))
            });
            requests(&target, &shape, *connections, (*depth).max(1), end)
        }
        Work::Until { paths, patience } => {
            until(&target, paths, &plan.address, Duration::from_secs_f64(*patience))
        }
        Work::Commit { path, body, times } => {
            let shape = Shape { method: "POST", path, body, keys: u64::MAX, host: &plan.address };
            commit(&target, &shape, *times)
        }
    }
}

/// What a request looks like but for its number.
#[derive(Clone, Copy)]
struct Shape<'a> {
    method: &'a str,
    path: &'a str,
    body: &'a str,
    keys: u64,
    host: &'a str,
}

impl Shape<'_> {
    fn write(&self, counter: u64, into: &mut Vec<u8>) {
        let number = (counter % self.keys).to_string();
        let path = self.path.replace("{n}", &number);
        let body = self.body.replace("{n}", &number);
        into.extend_from_slice(
            format!("{} {path} HTTP/1.1\r\nhost: {}\r\n", self.method, self.host).as_bytes(),
        );
        if !body.is_empty() {
            into.extend_from_slice(
                format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()).as_bytes(),
            );
        }
        into.extend_from_slice(b"\r\n");
        into.extend_from_slice(body.as_bytes());
    }
}

#[derive(Clone, Copy)]
enum End {
    After(Duration),
    Count(u64),
}

#[derive(Default)]
struct Tally {
    micros: Vec<u64>,
    statuses: BTreeMap<u16, u64>,
    last: Option<String>,
}

fn requests(
    target: &Target,
    shape: &Shape<'_>,
    connections: usize,
    depth: usize,
    end: End,
) -> Result<Value, LoadError> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        // One request each, so that no handshake falls into the time that is measured.
        let mut connection = target.connect()?;
        let mut first = Vec::new();
        shape.write(0, &mut first);
        connection.send(&first)?;
        connection.receive()?;
        open.push(connection);
    }
    let started = Instant::now();
    let tallies = thread::scope(|scope| {
        let threads: Vec<_> = open
            .into_iter()
            .enumerate()
            .map(|(index, connection)| {
                scope.spawn(move || keep_busy(connection, shape, index, depth, started, end))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(LoadError::Thread)))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let elapsed = started.elapsed().as_secs_f64();
    let mut all = Tally::default();
    for tally in tallies {
        all.micros.extend(tally.micros);
        for (status, count) in tally.statuses {
            *all.statuses.entry(status).or_default() += count;
        }
        all.last = tally.last.or(all.last);
    }
    Ok(summary(all, elapsed))
}

fn keep_busy(
    mut connection: Connection,
    shape: &Shape<'_>,
    index: usize,
    depth: usize,
    started: Instant,
    end: End,
) -> Result<Tally, LoadError> {
    // Connections start far apart in the numbers, so that they rarely write the same key at once.
    let mut counter = u64::try_from(index).unwrap_or(0).wrapping_mul(7_919);
    let mut sent: u64 = 0;
    let mut waiting: VecDeque<Instant> = VecDeque::with_capacity(depth);
    let mut tally = Tally::default();
    let mut batch = Vec::new();
    loop {
        let more = match end {
            End::After(time) => started.elapsed() < time,
            End::Count(count) => sent < count,
        };
        batch.clear();
        while more && waiting.len() < depth {
            shape.write(counter, &mut batch);
            counter = counter.wrapping_add(1);
            sent += 1;
            waiting.push_back(Instant::now());
        }
        if !batch.is_empty() {
            connection.send(&batch)?;
        }
        if waiting.is_empty() {
            return Ok(tally);
        }
        let mut answer = Some(connection.receive()?);
        while let Some(received) = answer {
            let Some(since) = waiting.pop_front() else {
                return Err(LoadError::Http("an answer too many".to_owned()));
            };
            tally.micros.push(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
            *tally.statuses.entry(received.status).or_default() += 1;
            tally.last = received.transaction.or(tally.last);
            answer = connection.received_answer()?;
        }
    }
}

fn until(target: &Target, paths: &[String], host: &str, patience: Duration) -> Result<Value, LoadError> {
    let mut connection = target.connect()?;
    let mut tally = Tally::default();
    let mut given_up = 0_u64;
    let started = Instant::now();
    for path in paths {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
        let since = Instant::now();
        loop {
            connection.send(&request)?;
            let answer = connection.receive()?;
            if answer.status == 200 {
                tally.micros.push(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
                *tally.statuses.entry(200).or_default() += 1;
                break;
            }
            if since.elapsed() > patience {
                given_up += 1;
                break;
            }
            if !matches!(answer.status, 202 | 404 | 503) {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                return Err(LoadError::Http(format!("{} to {path}: {text:.300}", answer.status)));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
    let mut result = summary(tally, started.elapsed().as_secs_f64());
    if let Some(fields) = result.as_object_mut() {
        fields.insert("given_up".to_owned(), json!(given_up));
    }
    Ok(result)
}

fn commit(target: &Target, shape: &Shape<'_>, times: u64) -> Result<Value, LoadError> {
    let mut connection = target.connect()?;
    let mut tally = Tally::default();
    let started = Instant::now();
    for counter in 0..times {
        let mut request = Vec::new();
        shape.write(counter, &mut request);
        let since = Instant::now();
        connection.send(&request)?;
        let answer = connection.receive()?;
        *tally.statuses.entry(answer.status).or_default() += 1;
        let Some(transaction) = answer.transaction else {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(LoadError::Http(format!("{} without a transaction: {text:.300}", answer.status)));
        };
        let question =
            format!("GET /app/tx?transaction_id={transaction} HTTP/1.1\r\nhost: {}\r\n\r\n", shape.host)
                .into_bytes();
        loop {
            connection.send(&question)?;
            let status: Value = serde_json::from_slice(&connection.receive()?.body)
                .map_err(|error| LoadError::Http(error.to_string()))?;
            match status.get("status").and_then(Value::as_str) {
                Some("Committed") => break,
                Some("Pending" | "Unknown") => thread::sleep(POLL_INTERVAL),
                other => return Err(LoadError::Http(format!("{transaction} became {other:?}"))),
            }
        }
        tally.micros.push(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
        tally.last = Some(transaction);
    }
    Ok(summary(tally, started.elapsed().as_secs_f64()))
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn summary(mut tally: Tally, elapsed: f64) -> Value {
    tally.micros.sort_unstable();
    let at = |share: usize| tally.micros.get(tally.micros.len().saturating_sub(1) * share / 100).copied();
    let failed: u64 =
        tally.statuses.iter().filter(|(status, _)| **status >= 300).map(|(_, count)| count).sum();
    let statuses: BTreeMap<String, u64> =
        tally.statuses.iter().map(|(status, count)| (status.to_string(), *count)).collect();
    json!({
        "requests": tally.micros.len(),
        "failed": failed,
        "statuses": statuses,
        "seconds": elapsed,
        "rate": tally.micros.len() as f64 / elapsed,
        "p50_us": at(50),
        "p99_us": at(99),
        "max_us": tally.micros.last(),
        "last_transaction": tally.last,
    })
}
