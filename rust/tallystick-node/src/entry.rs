//! From a write set to the entry that goes into the ledger, and its Merkle leaf (CCF: transaction format).
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tallystick_core::types::{Digest, TxId, to_hex};
use zeroize::Zeroizing;

use crate::kv::WriteSet;

const ENTRY_VERSION: u8 = 1;
const ENTRY_HEADER_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
const IV_BYTES: usize = 12;
/// Write set with commit evidence and claims: the only type that current versions write.
const ENTRY_TYPE: u8 = 4;
/// Eight bytes where "Commit Secret Label" was meant: frozen into the format (formats: commit evidence).
const COMMIT_SECRET_LABEL: &[u8] = b"Commit S";

/// The entry flag that closes the chunk after this entry.
pub const CLOSE_AFTER: u8 = 1;
/// The entry flag that starts a new chunk before this entry.
pub const CLOSE_BEFORE: u8 = 2;

/// Why an entry could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EntryError {
    /// A size does not fit its field.
    #[error("transaction is too large for one ledger entry: {0} bytes")]
    TooLarge(usize),
    /// The cipher refused, which it does only for absurd lengths.
    #[error("private domain could not be encrypted")]
    Encryption,
    /// A ledger secret is not 32 bytes.
    #[error("ledger secret has {0} bytes: expected 32")]
    SecretLength(usize),
}

/// A ledger secret, ready for use.
pub struct LedgerSecret {
    raw: Zeroizing<Vec<u8>>,
    cipher: LessSafeKey,
    commit_secret: hmac::Key,
}

impl std::fmt::Debug for LedgerSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LedgerSecret(…)")
    }
}

impl LedgerSecret {
    /// Takes the 32 bytes of a secret.
    ///
    /// # Errors
    /// [`EntryError::SecretLength`].
    pub fn new(raw: &[u8]) -> Result<Self, EntryError> {
        let unbound = UnboundKey::new(&AES_256_GCM, raw).map_err(|_| EntryError::SecretLength(raw.len()))?;
        let label = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, raw), COMMIT_SECRET_LABEL);
        Ok(Self {
            raw: Zeroizing::new(raw.to_vec()),
            cipher: LessSafeKey::new(unbound),
            commit_secret: hmac::Key::new(hmac::HMAC_SHA256, label.as_ref()),
        })
    }

    /// The secret itself, for sealing it to other nodes and members.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The commit evidence of transaction `txid`: `ce:<view>.<seqno>:<hex>`.
    #[must_use]
    pub fn commit_evidence(&self, txid: TxId) -> String {
        let text = txid.to_string();
        let nonce = hmac::sign(&self.commit_secret, text.as_bytes());
        format!("ce:{text}:{}", to_hex(nonce.as_ref()))
    }

    fn encrypt(
        &self,
        iv: [u8; IV_BYTES],
        aad: &[u8],
        plaintext: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], EntryError> {
        let tag = self
            .cipher
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(aad), plaintext)
            .map_err(|_| EntryError::Encryption)?;
        tag.as_ref().try_into().map_err(|_| EntryError::Encryption)
    }
}

/// An entry, ready to be appended.
#[derive(Debug)]
pub struct Sealed {
    /// The whole entry, header included.
    pub entry: Bytes,
    /// Its Merkle leaf.
    pub leaf: Digest,
}

/// The map blocks of one domain, serialised in advance: they do not depend on the transaction ID.
#[derive(Debug, Default)]
pub struct Domains {
    public: Vec<u8>,
    private: Vec<u8>,
}

impl Domains {
    /// Serialises the write set: maps and keys ascending, public and private apart.
    #[must_use]
    pub fn of(writes: &WriteSet) -> Self {
        let mut domains = Self::default();
        for (name, changes) in writes.iter().filter(|(_, changes)| !changes.is_empty()) {
            let out = if name.starts_with("public:") { &mut domains.public } else { &mut domains.private };
            put_blob(out, name.as_bytes());
            // Read version and read count: CCF writes neither any more.
            out.extend_from_slice(&[0; 16]);
            let written = changes.values().filter(|change| change.is_some()).count();
            out.extend_from_slice(&(written as u64).to_le_bytes());
            for (key, value) in changes.iter().filter_map(|(key, change)| Some((key, change.as_ref()?))) {
                put_blob(out, key);
                put_blob(out, value);
            }
            out.extend_from_slice(&((changes.len() - written) as u64).to_le_bytes());
            for (key, _) in changes.iter().filter(|(_, change)| change.is_none()) {
                put_blob(out, key);
            }
        }
        domains
    }
}

/// Makes the entry of transaction `txid`.
///
/// # Errors
/// [`EntryError`] when it cannot be represented.
pub fn seal(
    txid: TxId,
    flags: u8,
    domains: &Domains,
    claims_digest: &Digest,
    secret: &LedgerSecret,
) -> Result<Sealed, EntryError> {
    let evidence: Digest = Sha256::digest(secret.commit_evidence(txid)).into();
    let fixed = 1 + 8 + 32 + 32 + 8;
    let public_size = fixed + domains.public.len();
    let total = ENTRY_HEADER_BYTES + TAG_BYTES + IV_BYTES + 8 + public_size + domains.private.len();
    let size = (total - ENTRY_HEADER_BYTES) as u64;
    if size >= 1 << 48 {
        return Err(EntryError::TooLarge(total));
    }
    let mut iv = [0; IV_BYTES];
    let view =
        u32::try_from(txid.view).ok().filter(|view| *view < 1 << 31).ok_or(EntryError::TooLarge(total))?;
    iv.iter_mut()
        .zip(txid.seqno.to_le_bytes().into_iter().chain(view.to_le_bytes()))
        .for_each(|(target, byte)| *target = byte);

    let mut public = Vec::with_capacity(public_size);
    public.push(ENTRY_TYPE);
    public.extend_from_slice(&txid.seqno.to_le_bytes());
    public.extend_from_slice(claims_digest);
    public.extend_from_slice(&evidence);
    public.extend_from_slice(&[0; 8]);
    public.extend_from_slice(&domains.public);
    let mut private = domains.private.clone();
    let tag = secret.encrypt(iv, &public, &mut private)?;

    let mut entry = Vec::with_capacity(total);
    entry.push(ENTRY_VERSION);
    entry.push(flags);
    entry.extend(size.to_le_bytes().into_iter().take(6));
    entry.extend_from_slice(&tag);
    entry.extend_from_slice(&iv);
    entry.extend_from_slice(&(public_size as u64).to_le_bytes());
    entry.extend_from_slice(&public);
    entry.extend_from_slice(&private);

    let write_set: Digest = Sha256::digest(&entry).into();
    let leaf =
        Sha256::new().chain_update(write_set).chain_update(evidence).chain_update(claims_digest).finalize();
    Ok(Sealed { entry: entry.into(), leaf: leaf.into() })
}

fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]
mod tests {
    use super::*;

    /// Vector 1 of the format notes: a private-only transaction of a real service, byte for byte.
    #[test]
    fn a_real_private_entry_is_made_again() {
        let secret = "d917951c0773a06148d2ff5bf0c984d075fdceb601255157ac004bb53b351079";
        let secret: Vec<u8> =
            (0..32).map(|i| u8::from_str_radix(&secret[2 * i..2 * i + 2], 16).expect("hex")).collect();
        let secret = LedgerSecret::new(&secret).expect("32 bytes");
        let mut writes = WriteSet::new();
        writes
            .entry("records".into())
            .or_default()
            .insert(Bytes::from_static(b"42"), Some(Bytes::from_static(b"hello")));
        let txid = TxId { view: 2, seqno: 17 };
        let sealed = seal(txid, 0, &Domains::of(&writes), &[0; 32], &secret).expect("fits");
        assert_eq!(
            secret.commit_evidence(txid),
            "ce:2.17:c6b549e9831683c505c6b39792b47f6f3a8897384090dbab705c349182ece503"
        );
        assert_eq!(to_hex(&sealed.leaf), "520d2e9a61bac7ea344c60b5c31563cd2f6ce3474e8680d44029e8cad13a9aaa");
        assert!(
            to_hex(&sealed.entry)
                .ends_with("81837ad3823855b1e8fd3e453b907752957c335e40c659d7b3270fe87db64f87cdb12b232c1")
        );
    }
}
