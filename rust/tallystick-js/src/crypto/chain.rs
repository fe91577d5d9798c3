//! Whether a certificate chain leads to trusted certificates.
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::certificates;

/// Purposes of keys (RFC 5280, section 4.2.1.12), as contents of object identifiers: server, client, code, e-mail,
/// time stamps, OCSP, any. CCF asks for none; the library wants one that the chain agrees on.
const PURPOSES: [&[u8]; 7] = [
    &[43, 6, 1, 5, 5, 7, 3, 1],
    &[43, 6, 1, 5, 5, 7, 3, 2],
    &[43, 6, 1, 5, 5, 7, 3, 3],
    &[43, 6, 1, 5, 5, 7, 3, 4],
    &[43, 6, 1, 5, 5, 7, 3, 8],
    &[43, 6, 1, 5, 5, 7, 3, 9],
    &[85, 29, 37, 0],
];

/// Whether the first certificate of `chain` leads through the others to one of `trusted`, at `now` (seconds
/// since 1970). A certificate that is itself trusted needs only to be valid now. All of `trusted` must be authorities,
/// as CCF wants it: who trusts anything else has mixed up the arguments.
pub(crate) fn is_valid(chain: &str, trusted: &str, now: u64) -> bool {
    let (Some(chain), Some(trusted)) = (certificates(chain), certificates(trusted)) else { return false };
    let Some((target, intermediates)) = chain.split_first() else { return false };
    if !trusted.iter().all(|der| is_authority(der)) {
        return false;
    }
    if trusted.contains(target) {
        return is_current(target, now);
    }
    let trusted: Vec<CertificateDer<'_>> =
        trusted.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<_> = trusted
        .iter()
        // A root that has expired vouches for nobody.
        .filter(|der| is_current(der, now))
        .filter_map(|der| anchor_from_trusted_cert(der).ok())
        .collect();
    let intermediates: Vec<CertificateDer<'_>> = intermediates
        .iter()
        .filter(|der| may_sign_certificates(der))
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    let target = CertificateDer::from(target.as_slice());
    let Ok(target) = EndEntityCert::try_from(&target) else { return false };
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
    // What the certificate is used for is the script's business.
    PURPOSES.into_iter().map(KeyUsage::required_if_present).any(|usage| {
        target
            .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &intermediates, time, usage, None, None)
            .is_ok()
    })
}

/// Whether a certificate, if it says what its key may do, says that it may sign certificates. The library that walks
/// the chain does not ask.
fn may_sign_certificates(der: &[u8]) -> bool {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return false };
    match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    }
}

/// Whether a certificate says that it is an authority's; before version 3 it could not, and being self-signed said it.
fn is_authority(der: &[u8]) -> bool {
    if !may_sign_certificates(der) {
        return false;
    }
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return false };
    match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        Ok(None) => {
            certificate.version() == x509_parser::x509::X509Version::V1
                && certificate.issuer() == certificate.subject()
        }
        Err(_) => false,
    }
}

fn is_current(der: &[u8], now: u64) -> bool {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return false };
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    validity.not_before.timestamp() <= now && now <= validity.not_after.timestamp()
}
