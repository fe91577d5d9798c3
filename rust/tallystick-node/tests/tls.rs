//! What comes over TLS from clients that speak it badly, late, in old versions, or with odd certificates: each ends only
//! its own connection, and who holds a key is never somebody else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use rcgen::{CertificateParams, IsCa, KeyPair, SignatureAlgorithm};
use tallystick_node::http::{
    Counters, Handler, Identity, Interface, Limits, Protocol, Request, Response, Server, TlsIdentity,
};
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, SignatureScheme, StreamOwned, SupportedProtocolVersion,
    version,
};

/// Type of a record that holds an alert.
const ALERT: u8 = 21;
/// Alert: the version is not spoken here.
const PROTOCOL_VERSION: u8 = 70;
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// Answers with the client's certificate in base64.
struct WhoCalls;

impl Handler for WhoCalls {
    fn handle(&self, request: Request) -> Response {
        let certificate = request.session.client_certificate.as_deref().unwrap_or_default();
        Response::new(StatusCode::OK, format!("<{}>", STANDARD.encode(certificate)))
    }
}

/// A key, and a certificate that it signed itself.
struct Pair {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl Pair {
    fn with(key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { key, certificate }
    }

    fn of(algorithm: &'static SignatureAlgorithm) -> Self {
        Self::with(KeyPair::generate_for(algorithm).unwrap(), |_| {})
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    fn identity(&self) -> Identity {
        let pem = |what: &str, der: &[u8]| {
            format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
        };
        Identity {
            certificate_pem: pem("CERTIFICATE", &self.certificate),
            private_key_pem: pem("PRIVATE KEY", &self.key.serialize_der()),
        }
    }
}

struct Front {
    _server: Server,
    address: SocketAddr,
    counters: Arc<Counters>,
    identity: Arc<TlsIdentity>,
    trusted: CertificateDer<'static>,
}

fn front() -> Front {
    let node = Pair::of(&rcgen::PKCS_ECDSA_P384_SHA384);
    let identity = Arc::new(TlsIdentity::default());
    identity.set(&node.identity()).unwrap();
    let interface = Interface {
        name: "rpc".into(),
        address: "127.0.0.1:0".parse().unwrap(),
        protocol: Protocol::Http1,
        identity: Some(Arc::clone(&identity)),
        limits: Limits::default(),
    };
    let server = Server::start(vec![interface], 2, Arc::new(WhoCalls)).unwrap();
    let bound = &server.interfaces()[0];
    let (address, counters) = (bound.address, Arc::clone(&bound.counters));
    Front { _server: server, address, counters, identity, trusted: node.certificate }
}

/// Presents this, whatever is asked for.
#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesClientCert for Presents {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
    fn has_certs(&self) -> bool {
        true
    }
}

/// What a client presents: a certificate and a key, which need not belong together.
type Presented = Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>;

impl Front {
    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    fn client(
        &self,
        spoken: &'static SupportedProtocolVersion,
        presented: Presented,
        alpn: &[u8],
    ) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[spoken])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match presented {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
                let certified = CertifiedKey::new(vec![certificate], key);
                builder.with_client_cert_resolver(Arc::new(Presents(Arc::new(certified))))
            }
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap()
    }

    /// The body of the answer to a request of its own connection.
    fn ask(
        &self,
        spoken: &'static SupportedProtocolVersion,
        presented: Presented,
    ) -> Result<String, std::io::Error> {
        let mut stream = StreamOwned::new(self.client(spoken, presented, b"http/1.1"), self.tcp());
        let mut answer = String::new();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)?;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let (_, body) = answer.split_once('<').unwrap();
        Ok(body.trim_end_matches('>').to_owned())
    }

    fn is_alive(&self) {
        for spoken in VERSIONS {
            assert_eq!(self.ask(spoken, None).unwrap(), "");
        }
    }

    /// Sends `bytes` and no more, and returns all that comes until the connection ends.
    fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.tcp();
        // The connection may end before all is sent.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{bytes:x?}: {error}");
        }
        answer
    }

    /// Waits until `done` holds of the counters.
    fn settle(&self, done: impl Fn(&Counters) -> bool) {
        let begun = Instant::now();
        while !done(&self.counters) {
            assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", self.counters);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The first record of a handshake.
    fn hello(&self, spoken: &'static SupportedProtocolVersion) -> Vec<u8> {
        let mut hello = Vec::new();
        self.client(spoken, None, b"http/1.1").write_tls(&mut hello).unwrap();
        hello
    }
}

/// A first message that offers nothing above `version`.
fn hello_of(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    // ECDHE with ECDSA, AES-128: CBC with SHA-1, and GCM.
    body.extend([0, 4, 0xc0, 0x09, 0xc0, 0x2b, 1, 0]);
    // Extensions, so that nothing but the version is wanting: P-256, and ECDSA with SHA-256 and SHA-1.
    body.extend([0, 18, 0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 6, 0, 4, 4, 3, 2, 3]);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

#[test]
fn garbage_ends_only_its_own_connection() {
    let front = front();
    let long = [&[22, 3, 3, 0xff, 0xff][..], &[1; 70_000]].concat();
    let empty = [22, 3, 3, 0, 0].repeat(5000);
    let garbage: [&[u8]; 11] = [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0",
        &[0xff; 1000],
        // A hello of SSL 2.
        &[0x80, 0x1f, 1, 0, 2, 0, 6, 0, 0, 0, 16, 1, 0, 0x80],
        // Application data, a finished handshake, and an alert, before anything was said.
        &[23, 3, 3, 0, 4, 1, 2, 3, 4],
        &[20, 3, 3, 0, 1, 1],
        &[21, 3, 3, 0, 2, 2, 40],
        // A message that says it is of 16 MiB.
        &[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff],
        &long,
        &empty,
    ];
    for bytes in garbage {
        let answer = front.send(bytes);
        assert!(answer.first().is_none_or(|first| *first == ALERT), "{bytes:x?}: {answer:x?}");
        front.settle(|counters| counters.active.load(Ordering::Relaxed) == 0);
    }
    front.is_alive();
}

#[test]
fn old_versions_are_refused_by_name() {
    let front = front();
    for version in [[3, 0], [3, 1], [3, 2]] {
        let answer = front.send(&hello_of(version));
        assert_eq!(
            (answer[0], answer[5], answer[6]),
            (ALERT, 2, PROTOCOL_VERSION),
            "{version:?}: {answer:?}"
        );
    }
    front.is_alive();
}

#[test]
fn handshakes_that_break_off_or_are_spoilt_end_only_their_own_connection() {
    let front = front();
    for spoken in VERSIONS {
        let hello = front.hello(spoken);
        for cut in (1..hello.len()).step_by(13) {
            front.send(&hello[..cut]);
            let mut spoilt = hello.clone();
            spoilt[cut] ^= 0x41;
            front.send(&spoilt);
        }
        // All of it, and then nothing, or something else.
        front.send(&hello);
        front.send(&hello.repeat(2));
        front.send(&[&hello[..], b"GET / HTTP/1.1\r\n\r\n"].concat());
    }
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == 0);
    front.is_alive();
}

#[test]
fn handshakes_that_stall_are_abandoned_and_hold_nobody_up() {
    let front = front();
    let hello = front.hello(&version::TLS13);
    let mut stalled: Vec<TcpStream> = (0..60).map(|_| front.tcp()).collect();
    for (index, stream) in stalled.iter_mut().enumerate() {
        // Nothing, half a record, or all of the first message.
        stream.write_all(&hello[..hello.len() * (index % 3) / 2]).unwrap();
    }
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == stalled.len());
    front.is_alive();
    front.settle(|counters| counters.active.load(Ordering::Relaxed) == 0);
    // No request came, so none was malformed.
    assert_eq!(front.counters.parsing.load(Ordering::Relaxed), 0);
    for stream in &mut stalled {
        // It ends: what was sent to it, if anything, is all there is.
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(ended.is_ok_and(|size| size < 16_384));
    }
    front.is_alive();
}

#[test]
fn every_kind_of_client_certificate_is_handed_on_as_it_is() {
    let front = front();
    let expired = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    };
    let p256 = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let pairs = [
        Pair::of(&rcgen::PKCS_ECDSA_P256_SHA256),
        Pair::of(&rcgen::PKCS_ECDSA_P384_SHA384),
        Pair::of(&rcgen::PKCS_ECDSA_P521_SHA512),
        Pair::of(&rcgen::PKCS_ED25519),
        Pair::of(&rcgen::PKCS_RSA_SHA256),
        Pair::with(p256(), expired),
        Pair::with(p256(), |params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
        // Names of 20,000 bytes.
        Pair::with(p256(), |params| {
            let name = rcgen::SanType::DnsName("a".repeat(200).as_str().try_into().unwrap());
            params.subject_alt_names = vec![name; 100];
        }),
    ];
    for spoken in VERSIONS {
        for pair in &pairs {
            let told = front.ask(spoken, Some((pair.certificate.clone(), pair.private_key()))).unwrap();
            assert_eq!(told, STANDARD.encode(&pair.certificate), "{:?}", pair.key);
        }
    }
}

#[test]
fn certificates_that_are_none_or_of_another_key_are_refused() {
    let front = front();
    let (own, other) = (Pair::of(&rcgen::PKCS_ECDSA_P256_SHA256), Pair::of(&rcgen::PKCS_ECDSA_P256_SHA256));
    let rsa = Pair::of(&rcgen::PKCS_RSA_SHA256);
    let cut = own.certificate[..own.certificate.len() / 2].to_vec();
    let presented = [
        // Somebody else's, of the same kind of key and of another.
        other.certificate.clone(),
        rsa.certificate.clone(),
        CertificateDer::from(Vec::new()),
        CertificateDer::from(vec![0x30, 0x80, 0, 0]),
        CertificateDer::from(b"-----BEGIN CERTIFICATE-----\n".to_vec()),
        CertificateDer::from(vec![0xff; 60_000]),
        CertificateDer::from(cut),
    ];
    for spoken in VERSIONS {
        for certificate in &presented {
            let answer = front.ask(spoken, Some((certificate.clone(), own.private_key())));
            assert!(answer.is_err(), "{spoken:?} {certificate:?}: {answer:?}");
        }
        front.settle(|counters| counters.active.load(Ordering::Relaxed) == 0);
        let told = front.ask(spoken, Some((own.certificate.clone(), own.private_key()))).unwrap();
        assert_eq!(told, STANDARD.encode(&own.certificate));
    }
    front.is_alive();
}

#[test]
fn a_protocol_that_the_interface_does_not_speak_is_refused() {
    let front = front();
    for spoken in VERSIONS {
        let mut stream = StreamOwned::new(front.client(spoken, None, b"h2"), front.tcp());
        assert!(stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").and_then(|()| stream.flush()).is_err());
    }
    front.is_alive();
}

#[test]
fn an_identity_that_changes_leaves_open_sessions_open() {
    let mut front = front();
    let client = front.client(&version::TLS13, None, b"http/1.1");
    let mut open = StreamOwned::new(client, front.tcp());
    let mut exchange = || {
        open.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"<>") {
            let mut buffer = [0; 1024];
            let size = open.read(&mut buffer).unwrap();
            assert!(size > 0, "the session ended");
            answer.extend_from_slice(&buffer[..size]);
        }
    };
    exchange();
    let renewed = Pair::of(&rcgen::PKCS_ECDSA_P384_SHA384);
    // A key that does not belong to the certificate changes nothing.
    let mut mixed = renewed.identity();
    mixed.private_key_pem = Pair::of(&rcgen::PKCS_ECDSA_P384_SHA384).identity().private_key_pem;
    assert!(front.identity.set(&mixed).is_err());
    front.is_alive();
    front.identity.set(&renewed.identity()).unwrap();
    exchange();
    assert!(front.ask(&version::TLS13, None).is_err(), "it still presents the old certificate");
    front.trusted = renewed.certificate;
    front.is_alive();
}
