//! Files that another node left behind: finding them, and going on from one of their transactions.
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tallystick_core::ledger::ChunkFile;
use tallystick_core::ledger::chunk::FileError;

use super::files::{Chunk, Committed, Inner, LedgerError, LedgerFiles, Options};

/// New chunks are named so until the recovery has succeeded.
const RECOVERY_SUFFIX: &str = ".recovery";
/// Files that nobody reads any more, kept for people to look at.
const IGNORED_SUFFIX: &str = ".ignored";
/// Files set aside under one name; more recoveries that failed at the same seqno than anybody makes.
const MAX_SET_ASIDE: u32 = 1000;
const HEADER_BYTES: u64 = 8;
/// The header of a chunk without an offset table.
const OPEN_HEADER: [u8; 8] = [0; 8];

/// A chunk file that belongs to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Seqno of its first entry, by its name.
    pub first: u64,
    /// Seqno of its last entry, if its name says so.
    pub last: Option<u64>,
    /// Whether its name says that it is committed.
    pub committed: bool,
    /// File.
    pub path: PathBuf,
}

impl Located {
    fn parse(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_prefix("ledger_")?;
        let (range, committed) = match name.strip_suffix(".committed") {
            Some(range) => (range, true),
            None => (name, false),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (first.parse().ok()?, Some(last.parse().ok()?)),
            None => (range.parse().ok()?, None),
        };
        // Seqnos begin at 1.
        let possible = first > 0 && last.is_none_or(|last| first <= last);
        possible.then_some(Self { first, last, committed, path })
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> LedgerError + '_ {
    move |source| LedgerError::Io { path: path.to_owned(), source }
}

fn unreadable(path: &Path, seqno: u64) -> impl Fn(FileError) -> LedgerError + '_ {
    move |error| match error {
        FileError::Io(source) => LedgerError::Io { path: path.to_owned(), source },
        FileError::Chunk { .. } | FileError::Entry { .. } => {
            LedgerError::Damaged { path: path.to_owned(), seqno, reason: "it is not what a chunk looks like" }
        }
    }
}

impl LedgerFiles {
    /// The chunk files of `options`, in ledger order from seqno 1 on, each seqno once, without what an earlier
    /// recovery left unfinished. Changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`] when a directory cannot be read.
    pub fn locate_chunks(options: &Options) -> Result<Vec<Located>, LedgerError> {
        let mut found = Vec::new();
        for directory in std::iter::once(&options.directory).chain(&options.read_only) {
            let own = *directory == options.directory;
            for entry in fs::read_dir(directory).map_err(failed(directory))? {
                let path = entry.map_err(failed(directory))?.path();
                if let Some(located) = Located::parse(path).filter(|found| own || found.committed) {
                    found.push(located);
                }
            }
        }
        // Of two files that begin alike the committed one comes first, and the one that reaches further.
        found.sort_by_key(|chunk| (chunk.first, !chunk.committed, std::cmp::Reverse(chunk.last)));
        let mut chunks: Vec<Located> = Vec::new();
        for chunk in found {
            let covered = chunks.last().is_some_and(|before| {
                before.first == chunk.first || before.last.is_some_and(|last| chunk.first <= last)
            });
            if !covered {
                chunks.push(chunk);
            }
        }
        Ok(chunks)
    }

    /// Goes on after transaction `last` of `chunks`: what follows it is cut off or set aside, as is what an earlier
    /// recovery left unfinished, and new chunks are named as belonging to a recovery.
    ///
    /// # Errors
    /// [`LedgerError`] when a file cannot be changed, or `last` lies inside a committed chunk, which never
    /// changes: then the ledger is not the one that was replayed.
    pub fn resume(options: Options, chunks: &[Located], last: u64) -> Result<Self, LedgerError> {
        let mut inner = Inner::default();
        inner.suffix = RECOVERY_SUFFIX;
        set_unfinished_aside(&options.directory)?;
        let mut next = 1;
        for located in chunks {
            // What does not begin where the last one ended was not replayed either.
            if located.first > last || located.first != next {
                if located.path.starts_with(&options.directory) {
                    set_aside(&located.path)?;
                }
                continue;
            }
            let chunk = ChunkFile::open(&located.path).map_err(unreadable(&located.path, located.first))?;
            let ends = located.first + chunk.entry_count().saturating_sub(1);
            if located.committed {
                if ends > last {
                    return Err(LedgerError::Damaged {
                        path: located.path.clone(),
                        seqno: last,
                        reason: "a committed chunk holds transactions that do not verify",
                    });
                }
                next = ends + 1;
                let (first, path) = (located.first, located.path.clone());
                inner.committed.push(Committed {
                    first,
                    last: ends,
                    path,
                    table: chunk.entries_end(),
                    file: None,
                });
            } else {
                let chunk = reopen(located, &chunk, last)?;
                next = chunk.last() + 1;
                inner.live.push_back(chunk);
            }
        }
        let files = Self { options, writing: Mutex::new(()), inner: Mutex::new(inner) };
        files.commit(last)?;
        Ok(files)
    }

    /// Every chunk file, in ledger order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let inner = self.inner.lock();
        let committed = inner.committed.iter().map(|chunk| chunk.path.clone());
        committed.chain(inner.live.iter().map(|chunk| chunk.path.clone())).collect()
    }

    /// The recovery has succeeded: chunks lose the mark of it.
    ///
    /// # Errors
    /// [`LedgerError::Io`]; calling it again goes on where it stopped.
    pub fn finish_recovery(&self) -> Result<(), LedgerError> {
        let _writing = self.writing.lock();
        let mut inner = self.inner.lock();
        inner.suffix = "";
        for chunk in &mut inner.live {
            if !chunk.suffix.is_empty() {
                chunk.path = unmarked(&chunk.path)?;
                chunk.suffix = "";
            }
        }
        for chunk in &mut inner.committed {
            if chunk.path.extension().is_some_and(|extension| extension == "recovery") {
                chunk.path = unmarked(&chunk.path)?;
            }
        }
        drop(inner);
        self.sync_directory()
    }
}

/// An uncommitted chunk, cut after transaction `last` and open for writing.
fn reopen(located: &Located, chunk: &ChunkFile, last: u64) -> Result<Chunk, LedgerError> {
    let path = &located.path;
    let mut positions = Vec::new();
    let mut end = HEADER_BYTES;
    let mut entries = chunk.entries_from(0).map_err(unreadable(path, located.first))?;
    let wanted = last - located.first + 1;
    let mut count = 0;
    while count < wanted {
        let Some((offset, size)) = entries.next_frame().map_err(unreadable(path, located.first + count))?
        else {
            break;
        };
        positions.push(u32::try_from(offset).map_err(|_| LedgerError::Damaged {
            path: path.clone(),
            seqno: located.first + count,
            reason: "a chunk ends below 4 GiB",
        })?);
        end = offset + size;
        count += 1;
    }
    let complete = chunk.is_complete() && count == chunk.entry_count();
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed(path))?;
    if !complete {
        // The header first: a chunk without table must not point at one.
        file.write_all_at(&OPEN_HEADER, 0)
            .and_then(|()| file.set_len(end))
            .and_then(|()| file.sync_data())
            .map_err(failed(path))?;
    }
    Ok(Chunk {
        first: located.first,
        path: path.clone(),
        file: Arc::new(file),
        positions,
        end,
        complete,
        closing: false,
        suffix: "",
    })
}

fn set_unfinished_aside(directory: &Path) -> Result<(), LedgerError> {
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "recovery") {
            set_aside(&path)?;
        }
    }
    Ok(())
}

/// Renames a file so that nobody reads it any more. What was set aside earlier stays: this may be the only copy of
/// transactions that somebody will look for.
fn set_aside(path: &Path) -> Result<(), LedgerError> {
    for attempt in 0..MAX_SET_ASIDE {
        let mut name = path.as_os_str().to_owned();
        if attempt > 0 {
            name.push(format!(".{attempt}"));
        }
        name.push(IGNORED_SUFFIX);
        if !Path::new(&name).try_exists().map_err(failed(path))? {
            return fs::rename(path, &name).map_err(failed(path));
        }
    }
    Err(failed(path)(io::ErrorKind::AlreadyExists.into()))
}

fn unmarked(path: &Path) -> Result<PathBuf, LedgerError> {
    let plain = path.with_extension("");
    fs::rename(path, &plain).map_err(failed(path))?;
    Ok(plain)
}
