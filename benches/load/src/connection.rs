//! One TLS connection that speaks pipelined HTTP/1.1.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::LoadError;
use crate::plan::Plan;

/// A node that says nothing for so long is not going to.
const SILENCE: Duration = Duration::from_secs(60);

/// The longest head of an answer that is read; real ones have a few hundred bytes.
const HEAD_LIMIT: usize = 64 * 1024;

const READ_SIZE: usize = 64 * 1024;

/// Status of an answer, and the transaction it names.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) transaction: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// What every connection to a node shares.
pub(crate) struct Target {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    address: SocketAddr,
}

fn tls(error: impl std::fmt::Display) -> LoadError {
    LoadError::Tls(error.to_string())
}

impl Target {
    /// Reads the certificates and the key that the plan names.
    pub(crate) fn new(plan: &Plan) -> Result<Self, LoadError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&plan.ca).map_err(tls)? {
            roots.add(certificate.map_err(tls)?).map_err(tls)?;
        }
        let chain = CertificateDer::pem_file_iter(&plan.certificate)
            .map_err(tls)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(tls)?;
        let key = PrivateKeyDer::from_pem_file(&plan.key).map_err(tls)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(tls)?;
        let address: SocketAddr =
            plan.address.parse().map_err(|_| LoadError::Plan(format!("not an address: {}", plan.address)))?;
        Ok(Self { config: Arc::new(config), name: ServerName::IpAddress(address.ip().into()), address })
    }

    /// A new connection, its handshake not yet done.
    pub(crate) fn connect(&self) -> Result<Connection, LoadError> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE))?;
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(tls)?;
        Ok(Connection { stream: StreamOwned::new(session, socket), received: Vec::new(), taken: 0 })
    }
}

/// One connection; answers come in the order of the requests.
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
    taken: usize,
}

impl Connection {
    /// Sends requests that are written out already.
    pub(crate) fn send(&mut self, requests: &[u8]) -> Result<(), LoadError> {
        self.stream.write_all(requests)?;
        self.stream.flush()?;
        Ok(())
    }

    /// The next answer, waiting for it.
    pub(crate) fn receive(&mut self) -> Result<Answer, LoadError> {
        loop {
            if let Some(answer) = self.received_answer()? {
                return Ok(answer);
            }
            self.received.drain(..self.taken);
            self.taken = 0;
            let held = self.received.len();
            self.received.resize(held + READ_SIZE, 0);
            let room = self.received.get_mut(held..).unwrap_or_default();
            let read = self.stream.read(room)?;
            self.received.truncate(held + read);
            if read == 0 {
                return Err(LoadError::Http("the connection ended".to_owned()));
            }
        }
    }

    /// The next answer, if it has arrived in full.
    pub(crate) fn received_answer(&mut self) -> Result<Option<Answer>, LoadError> {
        let unread = self.received.get(self.taken..).unwrap_or_default();
        let Some(head_length) = unread.windows(4).position(|window| window == b"\r\n\r\n") else {
            if unread.len() > HEAD_LIMIT {
                return Err(LoadError::Http("a head without an end".to_owned()));
            }
            return Ok(None);
        };
        let head = std::str::from_utf8(unread.get(..head_length).unwrap_or_default())
            .map_err(|_| LoadError::Http("a head that is not text".to_owned()))?;
        let (status, length, transaction) = parsed_head(head)?;
        let body_start = head_length + 4;
        let Some(body) = unread.get(body_start..body_start + length) else {
            return Ok(None);
        };
        let answer = Answer { status, transaction, body: body.to_vec() };
        self.taken += body_start + length;
        Ok(Some(answer))
    }
}

fn parsed_head(head: &str) -> Result<(u16, usize, Option<String>), LoadError> {
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| LoadError::Http(format!("no status line: {head:.60}")))?;
    let mut length = None;
    let mut transaction = None;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Err(LoadError::Http(format!("no header: {line:.60}")));
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("x-ms-ccf-transaction-id") {
            transaction = Some(value.trim().to_owned());
        }
    }
    // 204 has no body, and need not say so.
    if status == 204 {
        length = Some(length.unwrap_or(0));
    }
    let length = length.ok_or_else(|| LoadError::Http("no content length".to_owned()))?;
    Ok((status, length, transaction))
}
