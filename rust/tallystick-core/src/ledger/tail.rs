//! Is the last entry of an open chunk half-written, or was its size altered?
//!
//! A crash leaves the beginning of an entry at the end of a file, and a reader must accept that. An entry whose
//! size was changed to run past the end looks the same at first sight, and would take all that follows it out of
//! the ledger. They can be told apart: what a crash leaves is the true beginning of one entry and nothing else.
#![expect(clippy::disallowed_types, reason = "this module reads ledger files")]
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Domain;
use super::chunk::CHUNK_HEADER_BYTES;
use super::domain::{self, PublicHead, Visitor};
use super::entry::{FORMAT_VERSION, HEADER_BYTES, PREFIX_BYTES, framed_size_within, peek_txid};
use crate::limits::MAX_ENTRY_BYTES;
use crate::types::TxId;

/// How much of the tail is looked at in one piece. Bounds memory; a public domain that is larger is not parsed.
const WINDOW_BYTES: usize = 8 << 20;
/// What of an entry is looked at to recognise it: up to the version in its public domain.
const RECOGNISED_BYTES: usize = PREFIX_BYTES + 1 + 8;

/// Says why the bytes from `offset` to `end`, in which no whole entry fits, are more than the beginning of one;
/// `None` when they are what a crash leaves.
///
/// # Errors
/// The file cannot be read.
pub fn damage(file: &File, offset: u64, end: u64) -> io::Result<Option<String>> {
    let left = end.saturating_sub(offset);
    let window = usize::try_from(left).unwrap_or(usize::MAX).min(WINDOW_BYTES);
    let mut start = vec![0; window];
    file.read_exact_at(&mut start, offset)?;
    let (Some(txid), Some(public_size)) = (peek_txid(&start), public_size(&start)) else {
        return Ok(None);
    };
    let domain_end = (PREFIX_BYTES as u64).saturating_add(public_size);
    if domain_end > left {
        return Ok(None);
    }
    if let Some(public) = usize::try_from(domain_end).ok().and_then(|to| start.get(PREFIX_BYTES..to)) {
        match signature_shape(public) {
            None => return Ok(Some("its public domain is whole and malformed".into())),
            // A signature transaction has no private part: with its public domain it is all there.
            Some(true) => return Ok(Some("it is a whole signature transaction but for its size".into())),
            Some(false) => {}
        }
    }
    let follower = find_follower(file, offset + domain_end, end, txid)?;
    Ok(follower.map(|at| format!("transaction {} stands after it, at offset {at}", txid.seqno + 1)))
}

/// Whether the bytes from `offset` to `end` are the beginning of the offset table of the entries before them, or
/// all of it.
///
/// A chunk is completed by writing the table and then the header that points to it; a crash between the two
/// leaves an open chunk with a table that nothing points to. A file with a committed name was completed, so there
/// it is no excuse.
///
/// # Errors
/// The file cannot be read.
pub fn is_unfinished_table(path: &Path, file: &File, offset: u64, end: u64) -> io::Result<bool> {
    if path.extension().is_some_and(|extension| extension == "committed") {
        return Ok(false);
    }
    let (mut at, mut entry) = (offset, CHUNK_HEADER_BYTES);
    while at < end {
        // Where the table of these entries would have ended.
        if entry >= offset {
            return Ok(false);
        }
        let mut expected = [0; 4];
        expected.copy_from_slice(&u32::try_from(entry).unwrap_or(u32::MAX).to_le_bytes());
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(expected.len());
        let mut listed = [0; 4];
        let (listed, expected) = (listed.get_mut(..length), expected.get(..length));
        let Some((listed, expected)) = listed.zip(expected) else { return Ok(false) };
        file.read_exact_at(listed, at)?;
        if listed != expected {
            return Ok(false);
        }
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, entry)?;
        let Ok(total) = framed_size_within(&header, offset - entry) else { return Ok(false) };
        entry += total;
        at += length as u64;
    }
    Ok(true)
}

fn public_size(start: &[u8]) -> Option<u64> {
    start.get(PREFIX_BYTES - 8..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Whether a public domain is that of a signature transaction; `None` when it is malformed.
fn signature_shape(public: &[u8]) -> Option<bool> {
    struct Names {
        signature: bool,
        other: bool,
    }
    impl<'a> Visitor<'a> for Names {
        fn map(&mut self, name: &'a str) {
            match name {
                "public:ccf.internal.signatures" | "public:ccf.internal.cose_signatures" => {
                    self.signature = true
                }
                "public:ccf.internal.tree" => {}
                _ => self.other = true,
            }
        }
    }
    let head = PublicHead::parse(public).ok()?;
    let mut names = Names { signature: false, other: false };
    domain::walk(head.maps, Domain::Public, &mut names).ok()?;
    Some(names.signature && !names.other)
}

/// Offset of an entry between `from` and `end` that follows `txid`.
fn find_follower(file: &File, from: u64, end: u64, txid: TxId) -> io::Result<Option<u64>> {
    let wanted = txid.seqno.wrapping_add(1);
    let mut at = from;
    let mut block = Vec::new();
    while end.saturating_sub(at) >= RECOGNISED_BYTES as u64 {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(WINDOW_BYTES);
        block.resize(length, 0);
        file.read_exact_at(&mut block, at)?;
        let found = block.windows(RECOGNISED_BYTES).position(|window| follows(window, wanted, txid.view));
        if let Some(found) = found {
            return Ok(Some(at + found as u64));
        }
        // The next block begins where no window fitted any more.
        at += (length - RECOGNISED_BYTES + 1) as u64;
    }
    Ok(None)
}

fn follows(window: &[u8], seqno: u64, view: u64) -> bool {
    let [version, flags, size @ ..] = window else { return false };
    // Cheap tests first: this runs at every byte.
    if *version != FORMAT_VERSION || *flags > 3 {
        return false;
    }
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(size.iter().take(HEADER_BYTES - 2)).for_each(|(target, byte)| *target = *byte);
    let plausible =
        (PREFIX_BYTES as u64 - HEADER_BYTES as u64..MAX_ENTRY_BYTES).contains(&u64::from_le_bytes(bytes));
    let in_domain =
        window.get(PREFIX_BYTES + 1..).and_then(<[u8]>::first_chunk).map(|bytes| u64::from_le_bytes(*bytes));
    plausible
        && in_domain == Some(seqno)
        && peek_txid(window).is_some_and(|found| found.seqno == seqno && found.view >= view)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_recognised_by_its_number_twice() {
        let mut window = vec![0_u8; RECOGNISED_BYTES];
        window[0] = FORMAT_VERSION;
        window[2] = 200;
        window[24..32].copy_from_slice(&18_u64.to_le_bytes());
        window[32..36].copy_from_slice(&2_u32.to_le_bytes());
        window[45..53].copy_from_slice(&18_u64.to_le_bytes());
        assert!(follows(&window, 18, 2));
        assert!(!follows(&window, 19, 2), "another number");
        assert!(!follows(&window, 18, 3), "an earlier view");
        window[45] = 17;
        assert!(!follows(&window, 18, 2), "two numbers");
    }
}
