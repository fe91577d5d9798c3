//! COSE receipts of the CCF profile: `{396: {-1: [proof, …]}}` in the unprotected header of the service's
//! signature over the root that every proof leads to.
use std::collections::HashSet;

use super::{CommitEvidence, ReceiptError, Shown, check_path_length, check_size, leaf_hash, letters};
use crate::cbor::{self, Decoder, Value};
use crate::cose::{CcfHeaders, CoseSign1, VDS_CCF_LEDGER_SHA256, label};
use crate::limits::MAX_PATH_LENGTH;
use crate::merkle::{PathStep, directions, fold_path, tree_sizes};
use crate::types::Digest;

/// Label of inclusion proofs in the verifiable data structure proofs.
const INCLUSION_PROOFS: i64 = -1;
const PROOF_LEAF: i64 = 1;
const PROOF_PATH: i64 = 2;

/// One inclusion proof, with the leaf and root that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoseProof {
    /// SHA-256 of the whole entry.
    pub write_set_digest: Digest,
    /// Commit evidence.
    pub commit_evidence: CommitEvidence,
    /// Claims digest.
    pub claims_digest: Digest,
    /// Inclusion path, from the leaf up.
    pub path: Vec<PathStep>,
    /// The leaf, computed.
    pub leaf: Digest,
    /// The root, computed.
    pub root: Digest,
}

impl CoseProof {
    /// Parses the whole of `bytes` as one proof, without knowing the size of the tree.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        check_size(bytes)?;
        let proof = ProofReader { decoder: Decoder::new(bytes), index: 0 }.proof()?;
        proof.check_shape(None)?;
        Ok(proof)
    }

    /// The path must be one that leaf `seqno` has: in the tree of `size` leaves, or in some tree.
    fn check_shape(&self, size: Option<u64>) -> Result<(), ReceiptError> {
        let index = self.commit_evidence.txid().seqno;
        let sides = || self.path.iter().map(|step| step.0);
        let fits = match size {
            Some(size) => directions(index, size).is_some_and(|expected| expected.into_iter().eq(sides())),
            None => tree_sizes(index, sides()).is_some(),
        };
        if fits {
            Ok(())
        } else {
            Err(ReceiptError::PathShape { index, size: Shown(size), directions: letters(sides()) })
        }
    }
}

/// A COSE receipt, as claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoseReceipt<'a> {
    /// The signature over the root, detached.
    pub sign1: CoseSign1<'a>,
    /// Its protected headers.
    pub headers: CcfHeaders<'a>,
    /// At least one; every one must lead to a root that the signature covers.
    pub proofs: Vec<CoseProof>,
}

impl<'a> CoseReceipt<'a> {
    /// Parses the whole of `document`.
    ///
    /// # Errors
    /// [`ReceiptError`], also when a path has not the shape that its seqno and that of the signature demand.
    pub fn parse(document: &'a [u8]) -> Result<Self, ReceiptError> {
        check_size(document)?;
        let sign1 = CoseSign1::parse(document)?;
        if !sign1.tagged {
            return Err(ReceiptError::Untagged);
        }
        if let Some(payload) = sign1.payload {
            return Err(ReceiptError::PayloadAttached { length: payload.len() });
        }
        let headers = CcfHeaders::read(&sign1.protected_headers)?;
        let missing = |name| ReceiptError::HeaderMissing { name };
        headers.algorithm.ok_or(missing("alg (1)"))?;
        let vds = headers.vds.ok_or(missing("vds (395)"))?;
        if vds != VDS_CCF_LEDGER_SHA256 {
            return Err(ReceiptError::Vds { vds });
        }
        let vdp = cbor::get_integer(&sign1.unprotected_headers, label::VDP).ok_or(missing("vdp (396)"))?;
        let proofs = inclusion_proofs(vdp)?
            .into_iter()
            .enumerate()
            .map(|(index, bytes)| ProofReader { decoder: Decoder::new(bytes), index }.proof())
            .collect::<Result<Vec<_>, _>>()?;
        for proof in &proofs {
            proof.check_shape(headers.txid.map(|txid| txid.seqno))?;
            let transaction = proof.commit_evidence.txid();
            match headers.txid {
                Some(txid) if txid.view < transaction.view => {
                    return Err(ReceiptError::ViewOrder { signature: txid.view, transaction });
                }
                _ => {}
            }
        }
        Ok(Self { sign1, headers, proofs })
    }
}

fn inclusion_proofs<'a>(vdp: &Value<'a>) -> Result<Vec<&'a [u8]>, ReceiptError> {
    let refused = |got: String| ReceiptError::Proofs { got };
    let map = vdp.as_map().ok_or_else(|| refused("another type".to_owned()))?;
    let [(key, Value::Array(items))] = map.as_slice() else {
        return Err(refused(format!("{} members", map.len())));
    };
    if key.as_integer() != Some(INCLUSION_PROOFS) {
        return Err(refused(format!("member {}", cbor::diagnostic(key))));
    }
    if items.is_empty() {
        return Err(refused("none".to_owned()));
    }
    let mut seen = HashSet::new();
    let mut proofs = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let bytes = item.as_bytes().ok_or_else(|| refused(format!("another type as proof {index}")))?;
        if !seen.insert(bytes) {
            return Err(ReceiptError::ProofDuplicate { index });
        }
        proofs.push(bytes);
    }
    Ok(proofs)
}

type LeafComponents = (Digest, CommitEvidence, Digest);

struct ProofReader<'a> {
    decoder: Decoder<'a>,
    index: usize,
}

impl ProofReader<'_> {
    fn cbor<T>(&self, result: Result<T, cbor::CborError>) -> Result<T, ReceiptError> {
        result.map_err(|error| ReceiptError::Proof { index: self.index, error })
    }

    fn members_refused(&self, got: String) -> ReceiptError {
        ReceiptError::ProofMembers { index: self.index, got }
    }

    fn proof(mut self) -> Result<CoseProof, ReceiptError> {
        let count = self.decoder.map();
        let count = self.cbor(count)?;
        if count != 2 {
            return Err(self.members_refused(format!("{count} members")));
        }
        let (mut leaf, mut path) = (None, None);
        for _ in 0..count {
            let key = self.decoder.integer();
            match self.cbor(key)? {
                PROOF_LEAF if leaf.is_none() => leaf = Some(self.leaf()?),
                PROOF_PATH if path.is_none() => path = Some(self.path()?),
                key @ (PROOF_LEAF | PROOF_PATH) => {
                    return Err(self.members_refused(format!("member {key} twice")));
                }
                key => return Err(self.members_refused(format!("member {key}"))),
            }
        }
        let end = self.decoder.end();
        self.cbor(end)?;
        // Two different keys of two were met.
        let (Some((write_set_digest, commit_evidence, claims_digest)), Some(path)) = (leaf, path) else {
            return Err(self.members_refused("other members".to_owned()));
        };
        let leaf = leaf_hash(&write_set_digest, &commit_evidence, Some(&claims_digest));
        let root = fold_path(&leaf, &path);
        Ok(CoseProof { write_set_digest, commit_evidence, claims_digest, path, leaf, root })
    }

    fn members(&mut self, what: &'static str, expected: u64) -> Result<(), ReceiptError> {
        let actual = self.decoder.array();
        match self.cbor(actual)? {
            actual if actual == expected => Ok(()),
            actual => Err(ReceiptError::LeafMembers { index: self.index, what, expected, actual }),
        }
    }

    fn digest(&mut self, what: &'static str) -> Result<Digest, ReceiptError> {
        let bytes = self.decoder.byte_string();
        let bytes = self.cbor(bytes)?;
        Digest::try_from(bytes).map_err(|_| ReceiptError::DigestSize {
            index: self.index,
            what,
            actual: bytes.len(),
        })
    }

    fn leaf(&mut self) -> Result<LeafComponents, ReceiptError> {
        self.members("leaf", 3)?;
        let write_set_digest = self.digest("write set digest")?;
        let text = self.decoder.text();
        let evidence = CommitEvidence::parse(self.cbor(text)?)?;
        Ok((write_set_digest, evidence, self.digest("claims digest")?))
    }

    fn path(&mut self) -> Result<Vec<PathStep>, ReceiptError> {
        let length = self.decoder.array();
        let length = self.cbor(length)?;
        check_path_length(length)?;
        let mut path = Vec::with_capacity(MAX_PATH_LENGTH);
        for _ in 0..length {
            self.members("path step", 2)?;
            let left = self.decoder.boolean();
            path.push((self.cbor(left)?, self.digest("sibling")?));
        }
        Ok(path)
    }
}
