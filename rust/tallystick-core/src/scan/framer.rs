//! The first stage of a scan: reads files in order and cuts them into segments of whole entries.
//!
//! It also checks what only it sees: that the entries fill the file up to its offset table, and that the table
//! says where they are.
#![expect(clippy::disallowed_types, reason = "this module reads ledger files")]
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::budget::Budget;
use super::finding::{Finding, Place, ScanCode};
use super::{Level, Part};
use crate::error::Coded;
use crate::ledger::chunk::{CHUNK_HEADER_BYTES, ChunkError, OFFSET_BYTES, table_offset};
use crate::ledger::entry::{EntryError, HEADER_BYTES, framed_size_within, peek_seqno};
use crate::ledger::tail;

/// Whole entries of one file, back to back.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// Rank among all segments.
    pub order: u64,
    pub file_index: usize,
    /// Offset in the file of the first byte.
    pub offset: u64,
    /// May be longer than the entries.
    pub buffer: Vec<u8>,
    /// Where each entry ends in the buffer.
    pub ends: Vec<u32>,
    /// The entries that belong to the part of the file that is wanted.
    pub wanted: std::ops::Range<usize>,
    pub findings: Vec<Finding>,
    /// First segment of its file that has a wanted entry.
    pub starts_file: bool,
    /// Ends where a complete chunk ends, and nothing was wrong with its framing.
    pub ends_complete_chunk: bool,
    /// Its rows are wanted.
    pub columns: bool,
}

/// Why the framer stopped.
pub(super) enum Stop {
    /// Nobody wants more.
    Closed,
    /// A file cannot be read.
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(super) struct Framer<'a> {
    pub level: Level,
    pub segment_bytes: usize,
    pub budget: &'a Budget,
    pub order: u64,
    /// See [`Segment`].
    pub columns: bool,
}

/// One file while it is cut.
struct Walk {
    path: PathBuf,
    file: File,
    file_index: usize,
    size: u64,
    /// Where the entries must end.
    end: u64,
    table: Option<u64>,
    position: u64,
    count: u64,
    first_seqno: Option<u64>,
    offsets_differ: bool,
    started: bool,
}

impl Walk {
    fn place(&self, offset: u64) -> Place {
        Place { file_index: self.file_index, offset, txid: None }
    }

    fn table_count(&self) -> Option<u64> {
        self.table.map(|table| (self.size - table) / OFFSET_BYTES)
    }
}

impl Framer<'_> {
    /// Cuts one file, and hands every segment to `emit`, which says whether it wants more.
    pub fn file(
        &mut self,
        file_index: usize,
        part: &Part,
        emit: &mut dyn FnMut(Segment) -> bool,
    ) -> Result<(), Stop> {
        let file = File::open(&part.path)?;
        let size = file.metadata()?.len();
        let mut header = vec![0; usize::try_from(size.min(CHUNK_HEADER_BYTES)).unwrap_or(0)];
        file.read_exact_at(&mut header, 0)?;
        let place = Place { file_index, offset: 0, txid: None };
        let mut findings = Vec::new();
        let table = table_offset(&header, size).unwrap_or_else(|error| {
            findings.push(Finding::of(&error, place));
            None
        });
        let broken = !findings.is_empty();
        if size <= CHUNK_HEADER_BYTES && !broken {
            let message = format!("chunk holds no transaction: {size} bytes");
            findings.push(Finding::scan(ScanCode::ChunkEmpty, message, place));
        }
        let mut walk = Walk {
            path: part.path.clone(),
            file,
            file_index,
            size,
            end: table.unwrap_or(size),
            table,
            position: CHUNK_HEADER_BYTES.min(size),
            count: 0,
            first_seqno: None,
            offsets_differ: false,
            started: false,
        };
        let mut whole = true;
        while whole && walk.position < walk.end {
            let mut segment = self.next_buffer()?;
            whole = self.fill(&mut walk, &mut segment, broken)?;
            self.choose(&mut walk, part, &mut segment);
            segment.findings.splice(0..0, findings.drain(..));
            if whole && walk.position >= walk.end {
                self.finish(&walk, &mut segment);
                segment.ends_complete_chunk =
                    walk.table.is_some() && segment.wanted.end == segment.ends.len();
            }
            self.send(segment, emit)?;
        }
        if !findings.is_empty() || (whole && walk.count == 0 && walk.table.is_some()) {
            let mut segment = self.next_buffer()?;
            segment.file_index = file_index;
            segment.findings = findings;
            self.finish(&walk, &mut segment);
            self.send(segment, emit)?;
        }
        Ok(())
    }

    fn next_buffer(&mut self) -> Result<Segment, Stop> {
        let buffer = self.budget.take(self.segment_bytes).ok_or(Stop::Closed)?;
        Ok(Segment { buffer, columns: self.columns, ..Segment::default() })
    }

    fn send(&mut self, segment: Segment, emit: &mut dyn FnMut(Segment) -> bool) -> Result<(), Stop> {
        let order = self.order;
        self.order += 1;
        if emit(Segment { order, ..segment }) { Ok(()) } else { Err(Stop::Closed) }
    }

    /// Reads at the position of `walk` and frames what was read. Returns whether the file may go on.
    fn fill(&self, walk: &mut Walk, segment: &mut Segment, broken: bool) -> Result<bool, Stop> {
        segment.file_index = walk.file_index;
        segment.offset = walk.position;
        let left = walk.end - walk.position;
        let mut length = usize::try_from(left).unwrap_or(usize::MAX).min(segment.buffer.len());
        read(walk, segment, 0, length)?;
        let mut start = 0_usize;
        loop {
            let at = walk.position;
            let rest = segment.buffer.get(start..length).unwrap_or(&[]);
            if at >= walk.end {
                break;
            }
            let left = walk.end - at;
            let framed = match rest.first_chunk::<HEADER_BYTES>() {
                Some(header) => framed_size_within(header, left),
                None if left < HEADER_BYTES as u64 => {
                    Err(EntryError::Truncated { expected: HEADER_BYTES as u64, actual: left })
                }
                None => break, // cut inside a header: the next segment begins there
            };
            let total = match framed {
                Ok(total) => usize::try_from(total).unwrap_or(usize::MAX),
                Err(error) => {
                    let framed = walk.count + segment.ends.len() as u64;
                    segment.findings.push(framing_finding(walk, framed, error, broken)?);
                    self.compare_offsets(walk, segment)?;
                    return Ok(false);
                }
            };
            if total > rest.len() {
                if start > 0 {
                    break;
                }
                // A single entry larger than a segment: MAX_ENTRY_BYTES and the file itself bound it.
                self.budget.grow(&mut segment.buffer, total);
                read(walk, segment, length, total)?;
                length = total;
            }
            if walk.count == 0 && walk.first_seqno.is_none() {
                walk.first_seqno = segment.buffer.get(start..).and_then(peek_seqno);
            }
            start += total;
            walk.position += total as u64;
            // An entry has at most 1 GiB, and only a single one may be larger than a segment.
            segment.ends.push(u32::try_from(start).unwrap_or(u32::MAX));
        }
        self.compare_offsets(walk, segment)?;
        Ok(true)
    }

    /// Compares the offsets of the entries of `segment` with the table, up to the first difference in the file.
    fn compare_offsets(&self, walk: &mut Walk, segment: &mut Segment) -> Result<(), Stop> {
        let first = walk.count;
        walk.count += segment.ends.len() as u64;
        let (Some(table), Some(entries)) = (walk.table, walk.table_count()) else { return Ok(()) };
        if self.level < Level::Offsets || walk.offsets_differ || first >= entries {
            return Ok(());
        }
        let listed = (entries - first).min(segment.ends.len() as u64);
        let at = table + first * OFFSET_BYTES;
        let mut bytes = vec![0; usize::try_from(listed * OFFSET_BYTES).unwrap_or(0)];
        walk.file.read_exact_at(&mut bytes, at)?;
        let starts = std::iter::once(&0).chain(&segment.ends);
        let (numbers, _) = bytes.as_chunks::<4>();
        for ((index, number), start) in (first..).zip(numbers).zip(starts) {
            let (expected, actual) =
                (segment.offset + u64::from(*start), u64::from(u32::from_le_bytes(*number)));
            if expected != actual {
                let error = ChunkError::OffsetDiffers { index, expected, actual };
                let place = walk.place(table + index * OFFSET_BYTES);
                segment.findings.push(Finding::of(&error, place));
                walk.offsets_differ = true;
                break;
            }
        }
        Ok(())
    }

    /// Marks the entries of `segment` that the wanted part of the file holds. Seqnos are counted from the first
    /// entry, so that no entry can take itself out by what it says of itself.
    fn choose(&self, walk: &mut Walk, part: &Part, segment: &mut Segment) {
        let entries = segment.ends.len();
        let first = walk.first_seqno.unwrap_or(0).saturating_add(walk.count - entries as u64);
        let before =
            |seqno: u64| usize::try_from(seqno.saturating_sub(first)).unwrap_or(usize::MAX).min(entries);
        let from = part.first_seqno.map_or(0, before);
        let to = part.last_seqno.map_or(entries, |last| before(last.saturating_add(1)));
        segment.wanted = from..to.max(from);
        if !segment.wanted.is_empty() {
            segment.starts_file = !walk.started;
            walk.started = true;
        }
    }

    /// Once the entries have filled their space: does the table list as many?
    fn finish(&self, walk: &Walk, segment: &mut Segment) {
        let Some(table) = walk.table else { return };
        let (expected, actual) = (walk.count.saturating_mul(OFFSET_BYTES), walk.size - table);
        if self.level >= Level::Offsets && expected != actual {
            let error = ChunkError::OffsetsSize { expected, entries: walk.count, actual };
            segment.findings.push(Finding::of(&error, walk.place(table)));
        }
    }
}

fn read(walk: &Walk, segment: &mut Segment, from: usize, to: usize) -> io::Result<()> {
    let offset = segment.offset + from as u64;
    let target = segment.buffer.get_mut(from..to).ok_or(io::ErrorKind::UnexpectedEof)?;
    walk.file.read_exact_at(target, offset)
}

/// What it means that no entry can be framed at the position of `walk`.
fn framing_finding(walk: &Walk, framed: u64, error: EntryError, broken: bool) -> io::Result<Finding> {
    let place = walk.place(walk.position);
    let left = walk.end - walk.position;
    Ok(match (walk.table, &error) {
        (None, EntryError::Truncated { .. }) if !broken => {
            match tail::damage(&walk.file, walk.position, walk.end)? {
                None => {
                    let message = format!("open chunk ends in a half-written entry of {left} bytes");
                    Finding::scan(ScanCode::PartialTail, message, place)
                }
                Some(reason) => {
                    let message = format!("entry runs past the end of its chunk, but was not cut: {reason}");
                    Finding::scan(ScanCode::TailDamaged, message, place)
                }
            }
        }
        (None, EntryError::Version { .. })
            if !broken && tail::is_unfinished_table(&walk.path, &walk.file, walk.position, walk.end)? =>
        {
            let message =
                format!("open chunk ends in {left} bytes of an offset table that its header does not name");
            Finding::scan(ScanCode::PartialTail, message, place)
        }
        (Some(table), _) if walk.table_count().is_some_and(|count| count <= framed) => {
            let error = ChunkError::TrailingBytes { expected: table, actual: walk.position, bytes: left };
            Finding::of(&error, place)
        }
        _ => Finding::of(&error as &dyn Coded, place),
    })
}
