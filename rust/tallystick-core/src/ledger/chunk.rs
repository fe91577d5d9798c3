//! One chunk file, read at random or in order.
//!
//! ```text
//! u64 LE  offset T of the offset table, 0 while the chunk is open · entries back to back · at T, u32 LE each, the
//! offset of every entry · end of file
//! ```
#![expect(clippy::disallowed_types, reason = "this module reads ledger files")]
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{Entry, EntryError, EntryOrDomainError, HEADER_BYTES, framed_size_within, peek_seqno};
use crate::error::{Coded, coded};

/// Bytes of the chunk header, and so the offset of the first entry.
pub const CHUNK_HEADER_BYTES: u64 = 8;
/// Bytes of one number of the offset table.
pub const OFFSET_BYTES: u64 = 4;
/// Bytes that are read at a time.
const BLOCK_BYTES: u64 = 256 << 10;
/// In a chunk without table, the offset of every so many entries is kept.
const STRIDE: u64 = 64;

/// What is wrong with the layout of a chunk file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Fewer bytes than the header has, but not none.
    #[error("chunk header: expected {CHUNK_HEADER_BYTES} bytes, got {actual}")]
    HeaderTruncated {
        /// Bytes of the file.
        actual: u64,
    },
    /// The header points into itself.
    #[error(
        "chunk header: expected an offset table at {CHUNK_HEADER_BYTES} or beyond (or 0 for none), got {actual}"
    )]
    Header {
        /// Offset met.
        actual: u64,
    },
    /// The header points past the end.
    #[error("offset table: expected at {expected}, got only {actual} bytes in the file")]
    OffsetsMissing {
        /// Where the header says it is.
        expected: u64,
        /// Bytes of the file.
        actual: u64,
    },
    /// Another number of entries than offsets.
    #[error("offset table: expected {expected} bytes for {entries} entries, got {actual}")]
    OffsetsSize {
        /// Bytes that the entries call for.
        expected: u64,
        /// Entries counted.
        entries: u64,
        /// Bytes from the start of the table to the end of the file.
        actual: u64,
    },
    /// An offset that is not where the entry begins.
    #[error("offset table: expected {expected} for entry {index}, got {actual}")]
    OffsetDiffers {
        /// Which entry, from 0.
        index: u64,
        /// Where the entry begins.
        expected: u64,
        /// What the table says.
        actual: u64,
    },
    /// Bytes that no offset leads to, between the last entry and the table.
    #[error(
        "chunk: expected the last entry to end at the offset table at {expected}, got {bytes} more bytes from {actual}"
    )]
    TrailingBytes {
        /// Where the table begins.
        expected: u64,
        /// Where the last entry ends.
        actual: u64,
        /// Bytes between the two.
        bytes: u64,
    },
}

coded!(ChunkError {
    HeaderTruncated => "chunk-header-truncated",
    Header => "chunk-header",
    OffsetsMissing => "chunk-offsets-missing",
    OffsetsSize => "chunk-offsets-size",
    OffsetDiffers => "chunk-offsets-differ",
    TrailingBytes => "chunk-trailing-bytes",
} limits {});

/// Why a chunk file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The layout of the file.
    #[error("{source}")]
    Chunk {
        /// Where.
        offset: u64,
        /// What.
        source: ChunkError,
    },
    /// An entry.
    #[error("{source}")]
    Entry {
        /// Where the entry begins.
        offset: u64,
        /// What.
        source: EntryOrDomainError,
    },
}

impl FileError {
    fn entry(offset: u64, source: impl Into<EntryOrDomainError>) -> Self {
        Self::Entry { offset, source: source.into() }
    }

    /// The error with its code, and where it was met; an I/O error is given back.
    ///
    /// # Errors
    /// The I/O error.
    pub fn coded(&self) -> Result<(&dyn Coded, u64), &io::Error> {
        match self {
            Self::Io(error) => Err(error),
            Self::Chunk { offset, source } => Ok((source, *offset)),
            Self::Entry { offset, source } => Ok((source, *offset)),
        }
    }
}

/// Where the offset table of a file of `size` bytes begins; `None` while the chunk is open.
///
/// # Errors
/// [`ChunkError`] when the header cannot be right.
pub fn table_offset(header: &[u8], size: u64) -> Result<Option<u64>, ChunkError> {
    if size == 0 {
        return Ok(None);
    }
    let bytes = header.first_chunk().ok_or(ChunkError::HeaderTruncated { actual: size })?;
    match u64::from_le_bytes(*bytes) {
        0 => Ok(None),
        offset if offset < CHUNK_HEADER_BYTES => Err(ChunkError::Header { actual: offset }),
        offset if offset > size => Err(ChunkError::OffsetsMissing { expected: offset, actual: size }),
        offset => Ok(Some(offset)),
    }
}

/// Reads the entries of a file in order, a block at a time.
#[derive(Debug)]
pub struct EntryReader {
    file: Arc<File>,
    position: u64,
    end: u64,
    block: Vec<u8>,
    block_start: u64,
}

impl EntryReader {
    /// Entries from `position` to `end`.
    #[must_use]
    pub fn new(file: Arc<File>, position: u64, end: u64) -> Self {
        Self { file, position, end, block: Vec::new(), block_start: 0 }
    }

    /// Where the next entry begins.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Frames the next entry and steps over it: its offset and its bytes in all. `None` at the end.
    ///
    /// # Errors
    /// [`FileError`] when there is something that is not a whole entry.
    pub fn next_frame(&mut self) -> Result<Option<(u64, u64)>, FileError> {
        let offset = self.position;
        let left = self.end.saturating_sub(offset);
        if left == 0 {
            return Ok(None);
        }
        let truncated = |expected| FileError::entry(offset, EntryError::Truncated { expected, actual: left });
        let expected = HEADER_BYTES as u64;
        if left < expected {
            return Err(truncated(expected));
        }
        let header =
            self.bytes(offset, expected)?.first_chunk().copied().ok_or_else(|| truncated(expected))?;
        let total = framed_size_within(&header, left).map_err(|error| FileError::entry(offset, error))?;
        self.position = offset + total;
        Ok(Some((offset, total)))
    }

    /// The next entry: its offset and its bytes. `None` at the end.
    ///
    /// # Errors
    /// As [`EntryReader::next_frame`].
    pub fn next_raw(&mut self) -> Result<Option<(u64, &[u8])>, FileError> {
        match self.next_frame()? {
            Some((offset, total)) => Ok(Some((offset, self.bytes(offset, total)?))),
            None => Ok(None),
        }
    }

    /// The next entry, parsed. `None` at the end.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, FileError> {
        match self.next_raw()? {
            Some((offset, raw)) => {
                Entry::new(raw, offset).map(Some).map_err(|error| FileError::entry(offset, error))
            }
            None => Ok(None),
        }
    }

    /// `length` bytes at `offset`; the caller made sure that they lie before the end.
    fn bytes(&mut self, offset: u64, length: u64) -> io::Result<&[u8]> {
        let outside = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let held = self.block_start.checked_add(self.block.len() as u64).ok_or_else(outside)?;
        if offset < self.block_start || offset + length > held {
            let wanted = length.max(BLOCK_BYTES).min(self.end - offset);
            self.block.clear();
            // An entry has at most MAX_ENTRY_BYTES and lies within the file, so this allocation is bounded by both.
            self.block.resize(usize::try_from(wanted).map_err(|_| outside())?, 0);
            self.file.read_exact_at(&mut self.block, offset)?;
            self.block_start = offset;
        }
        let start = usize::try_from(offset - self.block_start).map_err(|_| outside())?;
        let length = usize::try_from(length).map_err(|_| outside())?;
        self.block.get(start..).and_then(|rest| rest.get(..length)).ok_or_else(outside)
    }
}

/// What a walk over the entries of an open chunk found.
#[derive(Debug, Default)]
struct Walk {
    count: u64,
    /// Offset of every [`STRIDE`]th entry.
    index: Vec<u64>,
    end: u64,
    partial: Option<(u64, u64)>,
}

impl Walk {
    fn over(path: &Path, file: &Arc<File>, size: u64) -> Result<Self, FileError> {
        let mut walk = Self { end: CHUNK_HEADER_BYTES.min(size), ..Self::default() };
        let mut reader = EntryReader::new(Arc::clone(file), walk.end, size);
        loop {
            match reader.next_frame() {
                Ok(Some((offset, _))) => {
                    if walk.count.is_multiple_of(STRIDE) {
                        walk.index.push(offset);
                    }
                    walk.count += 1;
                    walk.end = reader.position();
                }
                Ok(None) => return Ok(walk),
                Err(FileError::Entry {
                    offset,
                    source: EntryOrDomainError::Entry(EntryError::Truncated { actual, .. }),
                }) => {
                    walk.partial = Some((offset, actual));
                    return Ok(walk);
                }
                Err(FileError::Entry {
                    offset,
                    source: EntryOrDomainError::Entry(EntryError::Version { .. }),
                }) if super::tail::is_unfinished_table(path, file, offset, size)? => {
                    walk.partial = Some((offset, size - offset));
                    return Ok(walk);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[derive(Debug)]
enum Layout {
    /// The table begins at `offset` and has `count` numbers.
    Table {
        offset: u64,
        count: u64,
    },
    Open(Walk),
}

/// Random access to one chunk file, as large as it was when it was opened.
#[derive(Debug)]
pub struct ChunkFile {
    path: PathBuf,
    file: Arc<File>,
    size: u64,
    layout: Layout,
    first_seqno: Option<u64>,
}

impl ChunkFile {
    /// Opens a file. The entries of an open chunk are walked; those of a complete one are not looked at, but for
    /// the first: whether they agree with the offset table is a question for a scan.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FileError> {
        let path = path.into();
        let file = Arc::new(File::open(&path)?);
        let size = file.metadata()?.len();
        let mut header = vec![0; usize::try_from(size.min(CHUNK_HEADER_BYTES)).unwrap_or(0)];
        file.read_exact_at(&mut header, 0)?;
        let wrong = |source| FileError::Chunk { offset: 0, source };
        let layout = match table_offset(&header, size).map_err(wrong)? {
            Some(offset) => {
                let (count, rest) = ((size - offset) / OFFSET_BYTES, (size - offset) % OFFSET_BYTES);
                if rest != 0 {
                    let source = ChunkError::OffsetsSize {
                        expected: count * OFFSET_BYTES,
                        entries: count,
                        actual: size - offset,
                    };
                    return Err(FileError::Chunk { offset, source });
                }
                Layout::Table { offset, count }
            }
            None => Layout::Open(Walk::over(&path, &file, size)?),
        };
        let mut chunk = Self { path, file, size, layout, first_seqno: None };
        if chunk.entry_count() > 0 {
            let mut reader = chunk.reader_at(CHUNK_HEADER_BYTES);
            if let Some((_, raw)) = reader.next_raw()? {
                chunk.first_seqno = peek_seqno(raw);
            }
        }
        Ok(chunk)
    }

    /// As it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the header points at an offset table.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.layout, Layout::Table { .. })
    }

    /// Number of entries: of numbers in the table if there is one, else as walked.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        match &self.layout {
            Layout::Table { count, .. } => *count,
            Layout::Open(walk) => walk.count,
        }
    }

    /// Seqno of the first entry.
    #[must_use]
    pub fn first_seqno(&self) -> Option<u64> {
        self.first_seqno
    }

    /// Offset and size of a half-written last entry of an open chunk.
    #[must_use]
    pub fn partial_tail(&self) -> Option<(u64, u64)> {
        match &self.layout {
            Layout::Table { .. } => None,
            Layout::Open(walk) => walk.partial,
        }
    }

    /// Why the half-written last entry of an open chunk is not what a crash leaves; `None` when it is, or when there
    /// is none (see [`super::tail`]).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn tail_damage(&self) -> io::Result<Option<String>> {
        self.partial_tail().map_or(Ok(None), |(offset, _)| super::tail::damage(&self.file, offset, self.size))
    }

    /// Where the entries end.
    #[must_use]
    pub fn entries_end(&self) -> u64 {
        match &self.layout {
            Layout::Table { offset, .. } => *offset,
            Layout::Open(walk) => walk.end,
        }
    }

    fn reader_at(&self, offset: u64) -> EntryReader {
        EntryReader::new(Arc::clone(&self.file), offset, self.entries_end())
    }

    /// The entries from the one at `position` on; none when `position` is at or past the end.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn entries_from(&self, position: u64) -> Result<EntryReader, FileError> {
        if position >= self.entry_count() {
            return Ok(self.reader_at(self.entries_end()));
        }
        match &self.layout {
            Layout::Table { offset, .. } => {
                // No overflow: `position` is below the number of table entries, which lie within the file.
                let at = offset + position * OFFSET_BYTES;
                let mut bytes = [0; 4];
                self.file.read_exact_at(&mut bytes, at)?;
                let start = u64::from(u32::from_le_bytes(bytes));
                if start < CHUNK_HEADER_BYTES || start >= *offset {
                    let source = ChunkError::OffsetDiffers {
                        index: position,
                        expected: CHUNK_HEADER_BYTES,
                        actual: start,
                    };
                    return Err(FileError::Chunk { offset: at, source });
                }
                Ok(self.reader_at(start))
            }
            Layout::Open(walk) => {
                let indexed = usize::try_from(position / STRIDE).ok().and_then(|row| walk.index.get(row));
                let mut reader = self.reader_at(indexed.copied().unwrap_or(walk.end));
                for _ in 0..position % STRIDE {
                    reader.next_frame()?;
                }
                Ok(reader)
            }
        }
    }
}

/// Where two chunk files part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// The seqno, counted from the first entry of either file.
    pub seqno: u64,
    /// Offset of its entry in the first file.
    pub offset_a: u64,
    /// Offset of its entry in the second file.
    pub offset_b: u64,
}

/// Compares the entries of two chunk files over the seqnos that both hold; `None` when they are equal there.
///
/// # Errors
/// [`FileError`].
pub fn first_difference(a: &ChunkFile, b: &ChunkFile) -> Result<Option<Difference>, FileError> {
    let (Some(first_a), Some(first_b)) = (a.first_seqno(), b.first_seqno()) else { return Ok(None) };
    let first = first_a.max(first_b);
    let mut reader_a = a.entries_from(first - first_a)?;
    let mut reader_b = b.entries_from(first - first_b)?;
    let mut seqno = first;
    while let (Some((offset_a, raw_a)), Some((offset_b, raw_b))) =
        (reader_a.next_raw()?, reader_b.next_raw()?)
    {
        if raw_a != raw_b {
            return Ok(Some(Difference { seqno, offset_a, offset_b }));
        }
        seqno = seqno.saturating_add(1);
    }
    Ok(None)
}
