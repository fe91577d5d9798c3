//! Cryptography that scripts may call. Nothing is decided about trust, and every algorithm is the library's.
mod chain;
mod jwk;
mod key;
mod pem;
mod sign;

pub(crate) use chain::is_valid as is_valid_chain;
pub(crate) use jwk::{Family, from_pem as jwk_from_pem, to_pem as jwk_to_pem};
pub(crate) use key::CryptoError;
pub(crate) use sign::{
    Hash, Scheme, Wrapping, generate_ecdsa, generate_eddsa, generate_rsa, mac, random_aes_key, sign, unwrap,
    verify, wrap,
};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The DER of every certificate in `pem`, which must hold at least one; None when any of them is malformed.
pub fn certificates(pem: &str) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let mut rest = pem;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (body, after) = after.split_once(END)?;
        let text: String = body.chars().filter(|character| !character.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(text).ok()?;
        x509_parser::parse_x509_certificate(&der).ok().filter(|(rest, _)| rest.is_empty())?;
        found.push(der);
        rest = after;
    }
    (!found.is_empty()).then_some(found)
}

/// The id of the member or user whose certificate is the first in `pem`: hex SHA-256 of its DER.
pub fn certificate_id(pem: &str) -> Option<String> {
    certificates(pem)?.first().map(|der| hex(&sha256(der)))
}

/// Minimum TCB of SEV-SNP, as CCF writes it into `public:ccf.gov.nodes.snp.tcb_versions`: names and numbers
/// in the order of its members, `fmc` on Turin only.
///
/// `cpuid` is the hex of CPUID leaf 1 EAX, `tcb` the hex of the 64-bit TCB version, most significant first.
pub fn tcb_policy(cpuid: &str, tcb: &str) -> Option<Vec<(&'static str, u8)>> {
    let eax = u32::from_str_radix(cpuid, 16).ok().filter(|_| cpuid.len() == 8)?;
    let family = (eax >> 8 & 0xf) + (eax >> 20 & 0xff);
    let model = eax >> 4 & 0xf | (eax >> 16 & 0xf) << 4;
    let value = u64::from_str_radix(tcb, 16).ok().filter(|_| tcb.len() == 16)?;
    let [b0, b1, b2, b3, _, _, b6, b7] = value.to_le_bytes();
    match (family, model) {
        // Milan; Genoa, Bergamo and Siena.
        (0x19, 0x00..=0x1f | 0xa0..=0xaf) => {
            Some(vec![("microcode", b7), ("snp", b6), ("tee", b1), ("boot_loader", b0)])
        }
        // Turin.
        (0x1a, 0x00..=0x11) => {
            Some(vec![("microcode", b7), ("snp", b3), ("tee", b2), ("boot_loader", b1), ("fmc", b0)])
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn rejects_what_is_no_certificate() {
        for text in ["", "x", BEGIN, &format!("{BEGIN}\nAAAA\n{END}"), &format!("{BEGIN}\n!\n{END}")] {
            assert_eq!(certificates(text), None, "{text}");
        }
    }

    #[test]
    fn reads_a_tcb_version() {
        assert_eq!(
            tcb_policy("00a00f11", "db18000000000004"),
            Some(vec![("microcode", 0xdb), ("snp", 0x18), ("tee", 0), ("boot_loader", 4)])
        );
        assert_eq!(tcb_policy("00b00f21", "0100000002030405").map(|policy| policy.len()), Some(5));
        assert_eq!(tcb_policy("00000000", "db18000000000004"), None);
        assert_eq!(tcb_policy("00a00f11", "db"), None);
    }
}
