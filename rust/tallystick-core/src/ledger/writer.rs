//! Writes one chunk file, byte for byte as a CCF node does.
//!
//! Crash safety: until [`ChunkWriter::complete`] has renamed it, the file is an open chunk, whose last entry may be
//! half-written; the header gets the offset of the table only once the table is on disk.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "this module writes ledger files")]
use std::fs::{File, OpenOptions, rename};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::chunk::CHUNK_HEADER_BYTES;
use super::entry::{EntryError, EntryView};
use crate::error::{Coded, coded};

/// Why an entry does not go into a chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Seqnos of a chunk are consecutive.
    #[error("chunk writer: expected an entry with seqno {expected}, got {actual}")]
    Seqno {
        /// The next seqno.
        expected: u64,
        /// That of the entry.
        actual: u64,
    },
    /// The offset table has 32-bit numbers.
    #[error("chunk writer: expected the entry to begin at {limit} at most, got {actual}")]
    Offset {
        /// The largest offset.
        limit: u64,
        /// Where the entry would begin.
        actual: u64,
    },
    /// A complete chunk holds at least one entry.
    #[error("chunk writer: expected at least one entry before completion, got none")]
    Empty,
}

coded!(AppendError {
    Seqno => "chunk-writer-seqno",
    Offset => "chunk-writer-offset",
    Empty => "chunk-writer-empty",
} limits { Offset });

/// Why a chunk could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What was to be appended is not an entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// It is not the entry that comes next.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl WriteError {
    /// The error with its code; an I/O error is given back.
    ///
    /// # Errors
    /// The I/O error.
    pub fn coded(&self) -> Result<&dyn Coded, &io::Error> {
        match self {
            Self::Io(error) => Err(error),
            Self::Entry(error) => Ok(error),
            Self::Append(error) => Ok(error),
        }
    }
}

/// Writes `ledger_<first>`, which becomes `ledger_<first>-<last>` or `ledger_<first>-<last>.committed`.
#[derive(Debug)]
pub struct ChunkWriter {
    directory: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
    first_seqno: u64,
    offsets: Vec<u32>,
    size: u64,
}

impl ChunkWriter {
    /// Creates the file.
    ///
    /// # Errors
    /// The file system's, in particular when the file exists.
    pub fn create(directory: impl Into<PathBuf>, first_seqno: u64) -> io::Result<Self> {
        let directory = directory.into();
        let path = directory.join(format!("ledger_{first_seqno}"));
        let mut file = BufWriter::new(OpenOptions::new().write(true).create_new(true).open(&path)?);
        file.write_all(&0_u64.to_le_bytes())?;
        Ok(Self { directory, path, file, first_seqno, offsets: Vec::new(), size: CHUNK_HEADER_BYTES })
    }

    /// Bytes so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the file is now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn next_seqno(&self) -> u64 {
        self.first_seqno.saturating_add(self.offsets.len() as u64)
    }

    /// Appends one entry.
    ///
    /// # Errors
    /// [`WriteError`]; nothing is written then, unless it is the file system's.
    pub fn append(&mut self, entry: &[u8]) -> Result<(), WriteError> {
        let view = EntryView::parse(entry)?;
        let (expected, actual) = (self.next_seqno(), view.seqno());
        if actual != expected {
            return Err(AppendError::Seqno { expected, actual }.into());
        }
        let offset = u32::try_from(self.size)
            .map_err(|_| AppendError::Offset { limit: u64::from(u32::MAX), actual: self.size })?;
        self.file.write_all(entry)?;
        self.offsets.push(offset);
        self.size += entry.len() as u64;
        Ok(())
    }

    /// Writes what is buffered and leaves the chunk open.
    ///
    /// # Errors
    /// The file system's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Appends the offset table, points the header at it, syncs, and gives the file its final name.
    ///
    /// # Errors
    /// [`WriteError`], in particular when there is a file of that name.
    pub fn complete(&mut self, committed: bool) -> Result<PathBuf, WriteError> {
        if self.offsets.is_empty() {
            return Err(AppendError::Empty.into());
        }
        for offset in &self.offsets {
            self.file.write_all(&offset.to_le_bytes())?;
        }
        self.file.flush()?;
        let file = self.file.get_ref();
        // The table must be on disk before the header says that it is there.
        file.sync_data()?;
        file.write_all_at(&self.size.to_le_bytes(), 0)?;
        file.sync_all()?;
        let last = self.next_seqno() - 1;
        let suffix = if committed { ".committed" } else { "" };
        let target = self.directory.join(format!("ledger_{}-{last}{suffix}", self.first_seqno));
        if target.try_exists()? {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
        }
        rename(&self.path, &target)?;
        File::open(&self.directory)?.sync_all()?;
        self.path.clone_from(&target);
        Ok(target)
    }
}
