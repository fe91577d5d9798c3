//! Chunk files and their life (CCF: ledger files).
//!
//! ```text
//! ledger_<first>                    being written, and after completion until its last entry is committed
//! ledger_<first>-<last>.committed   completed and committed
//! ```
//!
//! What a crash leaves behind: a chunk is written front to back, so the worst is a half-written last entry in
//! the open file, or an offset table without the header that points to it. Both read as an open chunk whose
//! tail is cut. A committed name is only ever given, by one rename, to a file that is complete and synced.
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

const HEADER_BYTES: u64 = 8;
/// Committed chunks whose files stay open for reading.
const OPEN_FILES: usize = 16;

/// How the ledger is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where chunks are written.
    pub directory: PathBuf,
    /// Other places to read committed chunks from.
    pub read_only: Vec<PathBuf>,
    /// Whether each batch is forced to the disk before it counts as written. CCF itself stops at the
    /// kernel's cache, which survives the process but not the machine.
    pub sync: bool,
}

/// Why the ledger could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk failed us; nothing of the batch counts as written.
    #[error("ledger file {}: {source}", path.display())]
    Io {
        /// File.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory of a new service holds something.
    #[error("On start, ledger directory should not exist or be empty ({})", .0.display())]
    NotEmpty(PathBuf),
    /// No file holds the transaction.
    #[error("no ledger file holds seqno {0}")]
    Missing(u64),
    /// A file does not hold what its name or table says.
    #[error("ledger file {} is damaged near seqno {seqno}: {reason}", path.display())]
    Damaged {
        /// File.
        path: PathBuf,
        /// Seqno looked for.
        seqno: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) first: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// Offset of each entry.
    pub(super) positions: Vec<u32>,
    /// End of the last entry, which is where the next one goes.
    pub(super) end: u64,
    pub(super) complete: bool,
    /// Its last entry says that it ends there; the offset table may still be owed.
    pub(super) closing: bool,
    /// What its name ends in: nothing, or `.recovery` until a recovery has succeeded.
    pub(super) suffix: &'static str,
}

impl Chunk {
    pub(super) fn last(&self) -> u64 {
        self.first + self.positions.len() as u64 - 1
    }

    fn error(&self, source: io::Error) -> LedgerError {
        LedgerError::Io { path: self.path.clone(), source }
    }
}

#[derive(Debug)]
pub(super) struct Committed {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) path: PathBuf,
    pub(super) table: u64,
    pub(super) file: Option<Arc<File>>,
}

/// The files of one node's ledger. One writer; readers may come at any time.
#[derive(Debug)]
pub struct LedgerFiles {
    pub(super) options: Options,
    /// Held by whoever changes the files, for as long as the disk takes.
    pub(super) writing: Mutex<()>,
    /// Held for moments only, and for renames, so that paths are true.
    pub(super) inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    /// Chunks that are not wholly committed, oldest first; only the last may be incomplete.
    pub(super) live: VecDeque<Chunk>,
    pub(super) committed: Vec<Committed>,
    open_order: VecDeque<u64>,
    /// What names of new chunks end in.
    pub(super) suffix: &'static str,
}

impl Inner {
    /// Keeps `file` open for those who read the committed chunk that begins at `first`, and closes the oldest when they
    /// are too many.
    fn keep_open(&mut self, first: u64, file: &Arc<File>) {
        let at =
            |committed: &[Committed], first| committed.binary_search_by_key(&first, |chunk| chunk.first).ok();
        // Another reader may have opened it meanwhile.
        let Some(chunk) = at(&self.committed, first).and_then(|index| self.committed.get_mut(index)) else {
            return;
        };
        if chunk.file.is_none() {
            chunk.file = Some(Arc::clone(file));
            self.open_order.push_back(first);
        }
        while self.open_order.len() > OPEN_FILES {
            let oldest = self.open_order.pop_front().and_then(|first| at(&self.committed, first));
            if let Some(chunk) = oldest.and_then(|index| self.committed.get_mut(index)) {
                chunk.file = None;
            }
        }
    }
}

impl LedgerFiles {
    /// The ledger of a new service: the directory is made, and must be empty.
    ///
    /// # Errors
    /// [`LedgerError`] when it is not, or cannot be made.
    pub fn create(options: Options) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::Io { path: options.directory.clone(), source };
        fs::create_dir_all(&options.directory).map_err(failed)?;
        if fs::read_dir(&options.directory).map_err(failed)?.next().is_some() {
            return Err(LedgerError::NotEmpty(options.directory));
        }
        Ok(Self { options, writing: Mutex::default(), inner: Mutex::default() })
    }

    /// Appends the entries of one batch, the first of them being transaction `first`.
    ///
    /// `close_before` ends the current chunk first; `close_after` ends it after the batch. Either the whole
    /// batch is written (and synced, if asked for), or the error leaves the files as they were.
    ///
    /// # Errors
    /// [`LedgerError::Io`]; the same batch may be appended again later.
    pub fn append(
        &self,
        first: u64,
        entries: &[bytes::Bytes],
        close_before: bool,
        close_after: bool,
    ) -> Result<(), LedgerError> {
        // One batch at a time; readers are held up by neither the write nor the sync.
        let _writing = self.writing.lock();
        let owed = self.inner.lock().live.back().is_some_and(|chunk| chunk.closing);
        if close_before || owed {
            self.complete_last()?;
        }
        if self.inner.lock().live.back().is_none_or(|chunk| chunk.complete) {
            let suffix = self.inner.lock().suffix;
            let chunk = self.start_chunk(first, suffix)?;
            self.inner.lock().live.push_back(chunk);
        }
        let Some((path, file, end)) = self
            .inner
            .lock()
            .live
            .back()
            .map(|chunk| (chunk.path.clone(), Arc::clone(&chunk.file), chunk.end))
        else {
            return Err(LedgerError::Missing(first));
        };
        let failed = |source| LedgerError::Io { path: path.clone(), source };
        let mut positions = Vec::with_capacity(entries.len());
        let mut buffer = Vec::with_capacity(entries.iter().map(bytes::Bytes::len).sum());
        for entry in entries {
            let position = end + buffer.len() as u64;
            positions.push(u32::try_from(position).map_err(|_| {
                failed(io::Error::new(io::ErrorKind::FileTooLarge, "a chunk ends below 4 GiB"))
            })?);
            buffer.extend_from_slice(entry);
        }
        if let Err(source) = file.write_all_at(&buffer, end).and_then(|()| self.sync(&file)) {
            // Cut off what may have been written, so that a later attempt starts from a clean end. Should
            // that fail as well, the attempt overwrites it.
            let _ = file.set_len(end);
            return Err(failed(source));
        }
        if let Some(chunk) = self.inner.lock().live.back_mut() {
            chunk.end += buffer.len() as u64;
            chunk.positions.extend(positions);
            chunk.closing |= close_after;
        }
        if close_after {
            // The batch is written, whatever becomes of the offset table: a failure here must not have it
            // written twice. The next append or commit completes the chunk first.
            let _ = self.complete_last();
        }
        Ok(())
    }

    /// Renames every chunk whose last entry is at or before `seqno`.
    ///
    /// # Errors
    /// [`LedgerError::Io`]; calling it again goes on where it stopped.
    pub fn commit(&self, seqno: u64) -> Result<(), LedgerError> {
        let _writing = self.writing.lock();
        if self.inner.lock().live.back().is_some_and(|chunk| chunk.closing) {
            self.complete_last()?;
        }
        let mut inner = self.inner.lock();
        let mut renamed = false;
        while let Some(chunk) = inner.live.front().filter(|chunk| chunk.complete && chunk.last() <= seqno) {
            let (first, last, table) = (chunk.first, chunk.last(), chunk.end);
            let path =
                self.options.directory.join(format!("ledger_{first}-{last}.committed{}", chunk.suffix));
            fs::rename(&chunk.path, &path).map_err(|source| chunk.error(source))?;
            inner.live.pop_front();
            inner.committed.push(Committed { first, last, path, table, file: None });
            renamed = true;
        }
        drop(inner);
        if renamed { self.sync_directory() } else { Ok(()) }
    }

    /// Bytes of the entry of transaction `seqno`.
    ///
    /// # Errors
    /// [`LedgerError`] when no file holds it, or the file is damaged.
    pub fn read(&self, seqno: u64) -> Result<Vec<u8>, LedgerError> {
        let (path, file, position) = self.locate(seqno)?;
        let failed = |source| LedgerError::Io { path: path.clone(), source };
        let mut header = [0; 8];
        file.read_exact_at(&mut header, position).map_err(failed)?;
        let mut size = [0; 8];
        size.iter_mut().zip(header.iter().skip(2)).for_each(|(target, byte)| *target = *byte);
        let length = u64::from_le_bytes(size) + 8;
        let end =
            position.checked_add(length).filter(|end| file.metadata().is_ok_and(|file| *end <= file.len()));
        if end.is_none() {
            return Err(LedgerError::Damaged {
                path,
                seqno,
                reason: "an entry runs past the end of the file",
            });
        }
        let length = usize::try_from(length).map_err(|_| LedgerError::Damaged {
            path: path.clone(),
            seqno,
            reason: "an entry is too large",
        })?;
        let mut entry = vec![0; length];
        file.read_exact_at(&mut entry, position).map_err(failed)?;
        Ok(entry)
    }

    /// Last transaction written, 0 when there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        let inner = self.inner.lock();
        let live = inner.live.iter().rev().find(|chunk| !chunk.positions.is_empty()).map(Chunk::last);
        live.or_else(|| inner.committed.last().map(|chunk| chunk.last)).unwrap_or_default()
    }

    /// Committed chunks: first and last seqno and path, ascending.
    #[must_use]
    pub fn committed(&self) -> Vec<(u64, u64, PathBuf)> {
        self.inner
            .lock()
            .committed
            .iter()
            .map(|chunk| (chunk.first, chunk.last, chunk.path.clone()))
            .collect()
    }

    /// Path, file and offset of the entry of transaction `seqno`.
    fn locate(&self, seqno: u64) -> Result<(PathBuf, Arc<File>, u64), LedgerError> {
        match self.find(seqno) {
            // A recovery that ended has renamed it since its path was looked up.
            Err(LedgerError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.find(seqno)
            }
            found => found,
        }
    }

    fn find(&self, seqno: u64) -> Result<(PathBuf, Arc<File>, u64), LedgerError> {
        let (first, path, file, table) = {
            let inner = self.inner.lock();
            if let Some(chunk) = inner.live.iter().find(|chunk| chunk.first <= seqno && seqno <= chunk.last())
            {
                let index = usize::try_from(seqno - chunk.first).map_err(|_| LedgerError::Missing(seqno))?;
                let position = chunk.positions.get(index).copied().ok_or(LedgerError::Missing(seqno))?;
                return Ok((chunk.path.clone(), Arc::clone(&chunk.file), u64::from(position)));
            }
            let index = inner.committed.partition_point(|chunk| chunk.last < seqno);
            let chunk = inner.committed.get(index).filter(|chunk| chunk.first <= seqno);
            let chunk = chunk.ok_or(LedgerError::Missing(seqno))?;
            (chunk.first, chunk.path.clone(), chunk.file.clone(), chunk.table)
        };
        let failed = |source| LedgerError::Io { path: path.clone(), source };
        // The disk may take long: a reader of old chunks must not hold up whoever writes.
        let file = match file {
            Some(file) => file,
            None => {
                let file = Arc::new(File::open(&path).map_err(failed)?);
                self.inner.lock().keep_open(first, &file);
                file
            }
        };
        let mut position = [0; 4];
        file.read_exact_at(&mut position, table + 4 * (seqno - first)).map_err(failed)?;
        Ok((path, file, u64::from(u32::from_le_bytes(position))))
    }

    fn start_chunk(&self, first: u64, suffix: &'static str) -> Result<Chunk, LedgerError> {
        let path = self.options.directory.join(format!("ledger_{first}{suffix}"));
        let failed = |source| LedgerError::Io { path: path.clone(), source };
        // Truncating is safe: a file of this name can only be one that an earlier attempt of ours left.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(failed)?;
        file.write_all_at(&0_u64.to_le_bytes(), 0).map_err(failed)?;
        self.sync_directory()?;
        Ok(Chunk {
            first,
            path,
            file: Arc::new(file),
            positions: Vec::new(),
            end: HEADER_BYTES,
            complete: false,
            closing: false,
            suffix,
        })
    }

    /// Writes the offset table, then the header that points to it: in that order, so that a crash between the
    /// two leaves an open chunk.
    fn complete_last(&self) -> Result<(), LedgerError> {
        let (path, file, table, end) = {
            let inner = self.inner.lock();
            let Some(chunk) =
                inner.live.back().filter(|chunk| !chunk.complete && !chunk.positions.is_empty())
            else {
                return Ok(());
            };
            let table: Vec<u8> = chunk.positions.iter().flat_map(|position| position.to_le_bytes()).collect();
            (chunk.path.clone(), Arc::clone(&chunk.file), table, chunk.end)
        };
        let outcome = file
            .write_all_at(&table, end)
            .and_then(|()| self.sync(&file))
            .and_then(|()| file.write_all_at(&end.to_le_bytes(), 0))
            .and_then(|()| self.sync(&file));
        if let Err(source) = outcome {
            let _ = file.write_all_at(&0_u64.to_le_bytes(), 0);
            let _ = file.set_len(end);
            return Err(LedgerError::Io { path, source });
        }
        if let Some(chunk) = self.inner.lock().live.back_mut() {
            chunk.complete = true;
        }
        Ok(())
    }

    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        if self.options.sync { file.sync_data() } else { Ok(()) }
    }

    pub(super) fn sync_directory(&self) -> Result<(), LedgerError> {
        if !self.options.sync {
            return Ok(());
        }
        let directory: &Path = &self.options.directory;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| LedgerError::Io { path: directory.to_owned(), source })
    }
}
