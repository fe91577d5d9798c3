//! SHA-256 of messages in memory.
use aws_lc_rs::digest::{SHA256, digest};
use sha2::{Digest as _, Sha256};

use crate::types::Digest;

/// From here on, aws-lc is the faster of the two libraries, by 2 % at 64 to 350 bytes (measured with SHA-NI); below,
/// its call costs more.
const AWS_LC_BYTES: usize = 56;

/// SHA-256 of `data`.
#[must_use]
#[inline]
pub fn sha256(data: &[u8]) -> Digest {
    if data.len() >= AWS_LC_BYTES
        && let Ok(hash) = Digest::try_from(digest(&SHA256, data).as_ref())
    {
        return hash;
    }
    Sha256::digest(data).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::to_hex;

    #[test]
    fn both_libraries_agree_at_every_length() {
        let data: Vec<u8> = (0..=255).cycle().take(400).collect();
        for length in 0..data.len() {
            let expected: Digest = Sha256::digest(&data[..length]).into();
            assert_eq!(sha256(&data[..length]), expected, "{length} bytes");
        }
        // FIPS 180-4, the empty message.
        assert_eq!(to_hex(&sha256(&[])), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
