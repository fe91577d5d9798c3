//! TLS: the certificate that an interface presents, which may change while it runs, and clients' certificates,
//! which are accepted whatever they are and handed on.
use std::sync::Arc;

use parking_lot::RwLock;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, NamedGroup, ServerConfig, SignatureScheme, version,
};

/// Why a TLS identity could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM text does not hold what it should.
    #[error("TLS {what} cannot be read: {reason}")]
    Pem {
        /// Certificate or private key.
        what: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("TLS identity is unusable: {0}")]
    Unusable(Error),
}

/// A certificate chain and its private key, in PEM.
#[derive(Clone)]
pub struct Identity {
    /// Certificate chain, leaf first.
    pub certificate_pem: String,
    /// PKCS#8 private key.
    pub private_key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// The identity that interfaces present; empty until one is set, and handshakes fail until then.
#[derive(Debug, Default)]
pub struct TlsIdentity {
    current: RwLock<Option<Arc<CertifiedKey>>>,
}

impl TlsIdentity {
    /// Presents `identity` from the next handshake on.
    ///
    /// # Errors
    /// [`TlsError`] when the texts cannot be read or do not fit each other.
    pub fn set(&self, identity: &Identity) -> Result<(), TlsError> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|error| TlsError::Pem { what: "certificate", reason: format!("{error:?}") })?;
        let key = PrivateKeyDer::from_pem_slice(identity.private_key_pem.as_bytes())
            .map_err(|error| TlsError::Pem { what: "private key", reason: format!("{error:?}") })?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::Unusable)?;
        *self.current.write() = Some(Arc::new(certified));
        Ok(())
    }
}

impl ResolvesServerCert for TlsIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().clone()
    }
}

/// Accepts every client certificate, after the handshake has shown that the client holds its key. Whether the
/// key means anything is decided by each endpoint's authentication policy.
#[derive(Debug)]
struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn provider() -> CryptoProvider {
    // The NIST groups only, as a CCF node offers: P-521, P-384, P-256 where the library has them.
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| {
        matches!(group.name(), NamedGroup::secp256r1 | NamedGroup::secp384r1 | NamedGroup::secp521r1)
    });
    provider
}

pub(super) fn server_config(identity: Arc<TlsIdentity>, alpn: &[u8]) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(provider());
    let client = Arc::new(AnyClient { algorithms: provider.signature_verification_algorithms });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(TlsError::Unusable)?
        .with_client_cert_verifier(client)
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}
