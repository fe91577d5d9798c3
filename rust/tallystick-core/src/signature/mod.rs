//! Public keys and the signatures made with them. All cryptography is that of AWS-LC.
mod batch;
mod head_start;
mod key;
mod record;

pub use batch::{Batch, Check, Claim};
pub use head_start::HeadStart;
pub use key::{CODES, Hash, KeyError, KeyKind, PublicKey, algorithm};
pub use record::{RecordError, record_checks};
