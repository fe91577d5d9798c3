//! What the ledger secret is for: sealing entries with AES-256-GCM, and commit evidence.
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use rayon::prelude::*;

use super::entry::{Entry, EntryView, FORMAT_VERSION, PREFIX_BYTES, SNAPSHOT_BIT};
use crate::error::coded;
use crate::limits::MAX_ENTRY_BYTES;
use crate::secrets::SecretKey;
use crate::types::{TxId, to_hex};

/// Bytes of a ledger secret.
pub const SECRET_BYTES: usize = 32;
/// Bytes of an AES-GCM tag.
pub const TAG_BYTES: usize = 16;

/// The label of the commit secret. CCF means "Commit Secret Label", but only as many bytes as a pointer has
/// enter the HMAC, and that is part of the format now.
const COMMIT_SECRET_LABEL: &[u8] = b"Commit S";

/// Why an entry could not be sealed, opened or assembled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// Wrong secret, or the entry has been changed.
    #[error("entry at {txid} is not authentic under this ledger secret: AES-GCM tag {tag} does not hold")]
    Tag {
        /// Which entry.
        txid: TxId,
        /// Its tag, hexadecimal.
        tag: String,
    },
    /// Not a ledger secret.
    #[error("ledger secret: expected {SECRET_BYTES} bytes, got {actual}")]
    SecretSize {
        /// Bytes given.
        actual: usize,
    },
    /// The IV has room for 31 bits.
    #[error("view: expected at most {limit}, got {actual}", limit = SNAPSHOT_BIT - 1)]
    View {
        /// The view given.
        actual: u64,
    },
    /// Too large to be read back.
    #[error("entry size: expected at most {limit} bytes, got {actual}", limit = MAX_ENTRY_BYTES)]
    Size {
        /// Bytes of the entry.
        actual: u64,
    },
}

coded!(CryptoError {
    Tag => "entry-gcm-tag",
    SecretSize => "ledger-secret-size",
    View => "entry-view-range",
    Size => "entry-size-limit",
} limits { Size });

/// The IV of a transaction.
///
/// # Errors
/// [`CryptoError::View`] when the view does not fit.
pub fn transaction_iv(txid: TxId) -> Result<[u8; 12], CryptoError> {
    match u32::try_from(txid.view) {
        Ok(view) if view & SNAPSHOT_BIT == 0 => Ok(iv(txid.seqno, view)),
        _ => Err(CryptoError::View { actual: txid.view }),
    }
}

/// The IV of a snapshot.
#[must_use]
pub fn snapshot_iv(seqno: u64) -> [u8; 12] {
    iv(seqno, SNAPSHOT_BIT)
}

fn iv(seqno: u64, tail: u32) -> [u8; 12] {
    let mut iv = [0; 12];
    let (head, rest) = iv.split_at_mut(8);
    head.copy_from_slice(&seqno.to_le_bytes());
    rest.copy_from_slice(&tail.to_le_bytes());
    iv
}

fn gcm_key(secret: &[u8]) -> Result<LessSafeKey, CryptoError> {
    UnboundKey::new(&AES_256_GCM, secret)
        .map(LessSafeKey::new)
        .map_err(|_| CryptoError::SecretSize { actual: secret.len() })
}

/// Encrypts `plaintext` and authenticates `public_domain` with it; returns ciphertext and tag.
///
/// # Errors
/// [`CryptoError`] for a secret of the wrong size, or more bytes than AES-GCM takes.
pub fn seal(
    secret: &[u8],
    iv: [u8; 12],
    public_domain: &[u8],
    plaintext: Vec<u8>,
) -> Result<(Vec<u8>, [u8; TAG_BYTES]), CryptoError> {
    let key = gcm_key(secret)?;
    let too_large = CryptoError::Size { actual: plaintext.len() as u64 };
    let mut data = plaintext;
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(public_domain), &mut data)
        .map_err(|_| too_large.clone())?;
    let tag = <[u8; TAG_BYTES]>::try_from(tag.as_ref()).map_err(|_| too_large)?;
    Ok((data, tag))
}

/// Authenticates an entry under `secret` and returns the plaintext of its private domain, empty if there is none.
///
/// # Errors
/// [`CryptoError::Tag`] when it is not authentic, [`CryptoError::SecretSize`] for a secret of the wrong size.
pub fn open(entry: &EntryView<'_>, secret: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let key = gcm_key(secret)?;
    let mut plaintext = vec![0; entry.private_domain.len()];
    key.open_separate_gather(
        Nonce::assume_unique_for_key(*entry.gcm_iv),
        Aad::from(entry.public_domain),
        entry.private_domain,
        entry.gcm_tag,
        &mut plaintext,
    )
    .map_err(|_| CryptoError::Tag { txid: entry.txid(), tag: to_hex(entry.gcm_tag) })?;
    Ok(plaintext)
}

/// Authenticates and opens many entries on all cores, each under its own secret. `None` stands for an entry
/// without a secret, and for one that is not authentic or not parseable.
#[must_use]
pub fn open_many(tasks: &[(Entry, Option<Arc<SecretKey>>)]) -> Vec<Option<Vec<u8>>> {
    tasks
        .par_iter()
        .map(|(entry, secret)| {
            let view = EntryView::parse(entry.raw()).ok()?;
            open(&view, secret.as_ref()?.expose()).ok()
        })
        .collect()
}

/// Puts the parts of an entry together.
///
/// # Errors
/// [`CryptoError::Size`] when it is too large to be read back.
pub fn assemble(
    flags: u8,
    gcm_tag: &[u8; TAG_BYTES],
    gcm_iv: &[u8; 12],
    public_domain: &[u8],
    ciphertext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let total = PREFIX_BYTES as u64 + public_domain.len() as u64 + ciphertext.len() as u64;
    if total > MAX_ENTRY_BYTES {
        return Err(CryptoError::Size { actual: total });
    }
    let mut entry = Vec::with_capacity(PREFIX_BYTES + public_domain.len() + ciphertext.len());
    // The size takes the upper 48 bits of a little-endian word; version and flags are its two lowest bytes.
    let header = (total - 8) << 16 | u64::from(flags) << 8 | u64::from(FORMAT_VERSION);
    entry.extend_from_slice(&header.to_le_bytes());
    entry.extend_from_slice(gcm_tag);
    entry.extend_from_slice(gcm_iv);
    entry.extend_from_slice(&(public_domain.len() as u64).to_le_bytes());
    entry.extend_from_slice(public_domain);
    entry.extend_from_slice(ciphertext);
    Ok(entry)
}

/// The entry of transaction `txid`: `public_domain` in clear, `private_plaintext` encrypted under `secret`.
///
/// # Errors
/// [`CryptoError`], but never [`CryptoError::Tag`].
pub fn seal_entry(
    txid: TxId,
    flags: u8,
    public_domain: &[u8],
    private_plaintext: Vec<u8>,
    secret: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let iv = transaction_iv(txid)?;
    let (ciphertext, tag) = seal(secret, iv, public_domain, private_plaintext)?;
    assemble(flags, &tag, &iv, public_domain, &ciphertext)
}

/// The text whose digest is in the ledger, and which a service reveals once it considers `txid` committed.
///
/// # Errors
/// [`CryptoError::SecretSize`] for a secret of the wrong size.
pub fn commit_evidence(secret: &[u8], txid: TxId) -> Result<String, CryptoError> {
    if secret.len() != SECRET_BYTES {
        return Err(CryptoError::SecretSize { actual: secret.len() });
    }
    let commit_secret = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), COMMIT_SECRET_LABEL);
    let key = hmac::Key::new(hmac::HMAC_SHA256, commit_secret.as_ref());
    let nonce = hmac::sign(&key, txid.to_string().as_bytes());
    Ok(format!("ce:{txid}:{}", to_hex(nonce.as_ref())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;
    use crate::hash::sha256;
    use crate::ledger::domain::{Domain, PublicHead, Visitor, walk};
    use crate::ledger::entry::leaf;
    use crate::reader::Reader;

    // Vector 1 of the format notes: transaction 2.17 of a CCF 6 service, private writes only.
    const ENTRY: &str = "0100bb000000000067b30d330439b435fcd37fd402addd9011000000000000000200000051000000000000000411000000000000000000000000000000000000000000000000000000000000000000000000000000266ee6ffc4bd003458c67798796e06e07ee60c105c3fddeabdf831dca3572b780000000000000000d0575ea51389082b5384f1a6d6687dd5c47fd010e7f45e60cde4ec13609ff144981837ad3823855b1e8fd3e453b907752957c335e40c659d7b3270fe87db64f87cdb12b232c1";
    const SECRET: &str = "d917951c0773a06148d2ff5bf0c984d075fdceb601255157ac004bb53b351079";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap())
            .collect()
    }

    #[derive(Default)]
    struct Log(Vec<String>);
    impl<'a> Visitor<'a> for Log {
        fn map(&mut self, name: &'a str) {
            self.0.push(name.to_owned());
        }
        fn write(&mut self, key: &'a [u8], value: &'a [u8]) {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            self.0.push(format!("{}={}", text(key), text(value)));
        }
    }

    #[test]
    fn opens_and_seals_a_real_entry() {
        let (raw, secret) = (hex(ENTRY), hex(SECRET));
        let entry = EntryView::parse(&raw).unwrap();
        assert_eq!(entry.txid().to_string(), "2.17");
        let plaintext = open(&entry, &secret).unwrap();
        let mut log = Log::default();
        walk(Reader::new(&plaintext), Domain::Private, &mut log).unwrap();
        assert_eq!(log.0, ["records", "42=hello"]);
        let again = seal_entry(entry.txid(), entry.flags, entry.public_domain, plaintext, &secret).unwrap();
        assert_eq!(again, raw);

        let head = PublicHead::parse(entry.public_domain).unwrap();
        let evidence = commit_evidence(&secret, entry.txid()).unwrap();
        assert_eq!(evidence, "ce:2.17:c6b549e9831683c505c6b39792b47f6f3a8897384090dbab705c349182ece503");
        assert_eq!(head.commit_evidence_digest, Some(&sha256(evidence.as_bytes())));
        assert_eq!(
            to_hex(&entry.write_set_digest()),
            "c5496af8ff336bca85edc3ee95843622b16b0d08296d7f43674e65cfb6d07980"
        );
        assert_eq!(
            to_hex(&leaf(&entry.write_set_digest(), head.claims_digest, head.commit_evidence_digest)),
            "520d2e9a61bac7ea344c60b5c31563cd2f6ce3474e8680d44029e8cad13a9aaa"
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (raw, secret) = (hex(ENTRY), hex(SECRET));
        for bit in 64..raw.len() * 8 {
            let mut changed = raw.clone();
            *changed.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
            if let Ok(entry) = EntryView::parse(&changed) {
                assert!(matches!(open(&entry, &secret), Err(CryptoError::Tag { .. })), "bit {bit}");
            }
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let view = TxId { view: 1 << 31, seqno: 1 };
        assert_eq!(seal_entry(view, 0, &[], vec![], &[0; 32]), Err(CryptoError::View { actual: 1 << 31 }));
        let txid = TxId { view: 2, seqno: 1 };
        assert_eq!(seal_entry(txid, 0, &[], vec![], &[0; 31]), Err(CryptoError::SecretSize { actual: 31 }));
        assert_eq!(commit_evidence(&[0; 33], txid), Err(CryptoError::SecretSize { actual: 33 }));
    }
}
