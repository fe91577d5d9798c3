//! JSON receipts, in snake case as nodes write them or in camel case as some SDKs do.
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rayon::prelude::*;

use super::{CommitEvidence, ReceiptError, check_path_length, check_size, cut, leaf_hash};
use crate::json::Reader;
use crate::limits::MAX_CERTIFICATES;
use crate::merkle::{PathStep, fold_path, tree_sizes};
use crate::types::{Digest, TxId, digest_from_hex};

/// Receipts that one thread parses before it looks for more work; each takes a few microseconds.
const PARSED_AT_ONCE: usize = 64;

/// What a receipt says about its leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// The leaf itself: transactions of 1.x; for a signature transaction, the root that it signs.
    Given(Digest),
    /// What the leaf is computed from.
    Components {
        /// SHA-256 of the whole entry.
        write_set_digest: Digest,
        /// Commit evidence.
        commit_evidence: CommitEvidence,
        /// Claims digest; withheld by applications that hand out the claims instead, and absent in entries of type 3.
        claims_digest: Option<Digest>,
    },
}

/// A JSON receipt, as claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonReceipt {
    /// ECDSA over the root used as the digest, DER.
    pub signature: Vec<u8>,
    /// Inclusion path, from the leaf up.
    pub path: Vec<PathStep>,
    /// The leaf, or what it is made of.
    pub leaf: Leaf,
    /// Id of the signing node.
    pub node_id: Option<Digest>,
    /// PEM of the signing node's certificate; absent in the oldest receipts.
    pub certificate: Option<String>,
    /// PEM of endorsements of the service key that issued it.
    pub service_endorsements: Vec<String>,
    /// Whether it is said to be the receipt of a signature transaction.
    pub is_signature_transaction: Option<bool>,
    /// Fields that no receipt of CCF has; they carry nothing.
    pub unknown_fields: Vec<String>,
}

/// A field that may be there once.
struct Field<T> {
    name: &'static str,
    value: Option<T>,
    met: bool,
}

impl<T> Field<T> {
    fn new(name: &'static str) -> Self {
        Self { name, value: None, met: false }
    }

    /// Reads the value unless it is null, which counts as absent.
    fn read(
        &mut self,
        reader: &mut Reader<'_>,
        value: impl FnOnce(&mut Reader<'_>, &'static str) -> Result<T, ReceiptError>,
    ) -> Result<(), ReceiptError> {
        if std::mem::replace(&mut self.met, true) {
            return Err(ReceiptError::FieldTwice { field: self.name });
        }
        if !reader.null()? {
            self.value = Some(value(reader, self.name)?);
        }
        Ok(())
    }

    fn required(self) -> Result<T, ReceiptError> {
        self.value.ok_or(ReceiptError::FieldMissing { field: self.name })
    }
}

fn digest(reader: &mut Reader<'_>, field: &'static str) -> Result<Digest, ReceiptError> {
    let text = reader.string()?;
    digest_from_hex(&text).ok_or_else(|| ReceiptError::Hex { field, actual: cut(&text) })
}

fn text(reader: &mut Reader<'_>, _: &'static str) -> Result<String, ReceiptError> {
    Ok(reader.string()?.into_owned())
}

fn boolean(reader: &mut Reader<'_>, _: &'static str) -> Result<bool, ReceiptError> {
    Ok(reader.boolean()?)
}

fn signature(reader: &mut Reader<'_>, _: &'static str) -> Result<Vec<u8>, ReceiptError> {
    let text = reader.string()?;
    match STANDARD.decode(text.as_bytes()) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(ReceiptError::Base64 { actual: cut(&text) }),
    }
}

fn commit_evidence(reader: &mut Reader<'_>, _: &'static str) -> Result<CommitEvidence, ReceiptError> {
    CommitEvidence::parse(&reader.string()?)
}

fn path(reader: &mut Reader<'_>, _: &'static str) -> Result<Vec<PathStep>, ReceiptError> {
    let mut path = Vec::new();
    reader.array(|reader| {
        let index = path.len();
        check_path_length(index as u64 + 1)?;
        let mut step = None;
        reader.object(|reader, key| {
            let left = match key {
                "left" => true,
                "right" => false,
                other => return Err(ReceiptError::PathStep { index, got: format!("key {:?}", cut(other)) }),
            };
            if step.is_some() {
                return Err(ReceiptError::PathStep { index, got: "both".to_owned() });
            }
            step = Some((left, digest(reader, if left { "left" } else { "right" })?));
            Ok(())
        })?;
        path.push(step.ok_or_else(|| ReceiptError::PathStep { index, got: "neither".to_owned() })?);
        Ok::<(), ReceiptError>(())
    })?;
    Ok(path)
}

fn endorsements(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<String>, ReceiptError> {
    let mut certificates = Vec::new();
    reader.array(|reader| {
        if certificates.len() == MAX_CERTIFICATES {
            return Err(ReceiptError::TooManyEndorsements { limit: MAX_CERTIFICATES });
        }
        certificates.push(text(reader, field)?);
        Ok(())
    })?;
    Ok(certificates)
}

fn components(reader: &mut Reader<'_>, _: &'static str) -> Result<Leaf, ReceiptError> {
    let mut write_set_digest = Field::new("write_set_digest");
    let mut evidence = Field::new("commit_evidence");
    let mut claims_digest = Field::new("claims_digest");
    reader.object(|reader, key| match key {
        "write_set_digest" | "writeSetDigest" => write_set_digest.read(reader, digest),
        "commit_evidence" | "commitEvidence" => evidence.read(reader, commit_evidence),
        "claims_digest" | "claimsDigest" => claims_digest.read(reader, digest),
        // An unknown component could be part of a leaf that is computed in a way that is not known here.
        _ => Err(ReceiptError::LeafAmbiguous { got: "an unknown leaf component" }),
    })?;
    Ok(Leaf::Components {
        write_set_digest: write_set_digest.required()?,
        commit_evidence: evidence.required()?,
        claims_digest: claims_digest.value,
    })
}

impl JsonReceipt {
    /// Parses the whole of `document`.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub fn parse(document: &[u8]) -> Result<Self, ReceiptError> {
        check_size(document)?;
        let mut reader = Reader::new(document)?;
        let mut signature_field = Field::new("signature");
        let mut path_field = Field::new("proof");
        let mut leaf_given = Field::new("leaf");
        let mut leaf_components = Field::new("leaf_components");
        let mut node_id = Field::new("node_id");
        let mut certificate = Field::new("cert");
        let mut service_endorsements = Field::new("service_endorsements");
        let mut is_signature_transaction = Field::new("is_signature_transaction");
        let mut unknown_fields = Vec::new();
        reader.object(|reader, key| match key {
            "signature" => signature_field.read(reader, signature),
            "proof" => path_field.read(reader, path),
            "leaf" => leaf_given.read(reader, digest),
            "leaf_components" | "leafComponents" => leaf_components.read(reader, components),
            "node_id" | "nodeId" => node_id.read(reader, digest),
            "cert" => certificate.read(reader, text),
            "service_endorsements" | "serviceEndorsements" => service_endorsements.read(reader, endorsements),
            "is_signature_transaction" | "isSignatureTransaction" => {
                is_signature_transaction.read(reader, boolean)
            }
            other => {
                unknown_fields.push(cut(other));
                Ok::<(), ReceiptError>(reader.skip()?)
            }
        })?;
        reader.end()?;
        let leaf = match (leaf_given.value, leaf_components.value) {
            (Some(leaf), None) => Leaf::Given(leaf),
            (None, Some(components)) => components,
            (Some(_), Some(_)) => return Err(ReceiptError::LeafAmbiguous { got: "both" }),
            (None, None) => return Err(ReceiptError::LeafAmbiguous { got: "neither" }),
        };
        Ok(Self {
            signature: signature_field.required()?,
            path: path_field.required()?,
            leaf,
            node_id: node_id.value,
            certificate: certificate.value,
            service_endorsements: service_endorsements.value.unwrap_or_default(),
            is_signature_transaction: is_signature_transaction.value,
            unknown_fields,
        })
    }

    /// Parses many documents, on all cores.
    #[must_use]
    pub fn parse_many(documents: &[&[u8]]) -> Vec<Result<Self, ReceiptError>> {
        documents.par_iter().with_min_len(PARSED_AT_ONCE).map(|document| Self::parse(document)).collect()
    }

    /// The leaf, as far as the receipt alone determines it: `None` while a claims digest is missing.
    #[must_use]
    pub fn leaf(&self) -> Option<Digest> {
        match &self.leaf {
            Leaf::Given(leaf) => Some(*leaf),
            Leaf::Components { write_set_digest, commit_evidence, claims_digest } => claims_digest
                .as_ref()
                .map(|claims| leaf_hash(write_set_digest, commit_evidence, Some(claims))),
        }
    }

    /// The leaf of these components with the claims digest that the caller knows (`None`: an entry of type 3,
    /// which has none). `None` when the receipt gives the leaf itself.
    #[must_use]
    pub fn leaf_with(&self, claims: Option<&Digest>) -> Option<Digest> {
        match &self.leaf {
            Leaf::Given(_) => None,
            Leaf::Components { write_set_digest, commit_evidence, .. } => {
                Some(leaf_hash(write_set_digest, commit_evidence, claims))
            }
        }
    }

    /// The transaction that the commit evidence speaks of.
    #[must_use]
    pub fn txid(&self) -> Option<TxId> {
        match &self.leaf {
            Leaf::Given(_) => None,
            Leaf::Components { commit_evidence, .. } => Some(commit_evidence.txid()),
        }
    }

    /// The root that the path leads to from `leaf`.
    #[must_use]
    pub fn root(&self, leaf: &Digest) -> Digest {
        fold_path(leaf, &self.path)
    }

    /// The tree sizes in which leaf `index` has a path with these directions, if there are any.
    #[must_use]
    pub fn tree_sizes(&self, index: u64) -> Option<RangeInclusive<u64>> {
        tree_sizes(index, self.path.iter().map(|step| step.0))
    }
}
