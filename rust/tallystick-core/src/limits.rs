//! Every bound on hostile input, each with its reason.

/// Longest entry that is read, in bytes. CCF nodes keep a transaction in memory whole; nobody has seen
/// one above a few hundred MiB, and a reader must hold the entry to parse it.
pub const MAX_ENTRY_BYTES: u64 = 1 << 30;

/// Nesting of CBOR and JSON values. The deepest value of any CCF format nests 8 deep.
pub const MAX_NESTING: usize = 64;

/// Steps in a Merkle path. Seqnos are 63-bit at most, so no real path is longer.
pub const MAX_PATH_LENGTH: usize = 64;

/// Characters of a commit evidence text (from the CCF receipt profile: 1 to 1024).
pub const MAX_COMMIT_EVIDENCE_CHARS: usize = 1024;

/// Bytes of one receipt, statement or endorsement that is parsed. The largest real ones, with X.509 chains
/// and attested payloads, stay below 1 MiB.
pub const MAX_RECEIPT_BYTES: u64 = 16 << 20;

/// Bytes of one X.509 certificate. CCF's own stay below 1 KiB; attestation and signing chains below 8 KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 256 << 10;

/// Certificates in one file or one receipt. Real chains hold fewer than ten.
pub const MAX_CERTIFICATES: usize = 1024;

/// Items (numbers, strings, containers) of one CBOR document. Headers and receipts hold fewer than a hundred;
/// payloads are never decoded. It keeps the decoded form, about 40 bytes an item, small beside its input.
pub const MAX_CBOR_ITEMS: usize = 1 << 18;

/// Leaves that one compact Merkle tree may cover: seqnos are 63-bit in CCF's own consensus code.
pub const MAX_TREE_SIZE: u64 = 1 << 63;
