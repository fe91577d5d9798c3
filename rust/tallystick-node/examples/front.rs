//! A node without applications or Python, to measure the front, the store and the sequencer by themselves:
//! `cargo run --release --example front -- DIRECTORY [tls]`, then load on `/put/{n}` and `/get/{n}`.
//!
//! `DIRECTORY` gets the ledger and, with `tls`, must hold `cert.pem` and `key.pem`.
#![allow(clippy::print_stdout, reason = "what it prints is its whole interface")]
#[path = "../tests/support/fixed.rs"]
mod fixed;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fixed::FixedSigner;
use http::{HeaderName, StatusCode};
use tallystick_core::types::TxId;
use tallystick_node::entry::LedgerSecret;
use tallystick_node::http::{
    Handler, Identity, Interface, Limits, Protocol, Request, Response, Server, TlsIdentity, odata,
};
use tallystick_node::ledger::{LedgerError, Options as LedgerOptions};
use tallystick_node::node::{Node, Options};
use tallystick_node::sequencer::{Committing, Observer, Options as SequencerOptions, SignatureMode};

struct Silent;

impl Observer for Silent {
    fn committed(&self, _txid: TxId) {}
    fn delayed(&self, _error: &LedgerError) {}
}

struct Records(Node);

impl Handler for Records {
    fn handle(&self, request: Request) -> Response {
        let sequencer = self.0.sequencer();
        let mut transaction = sequencer.begin();
        let Some((verb, key)) = request.path.trim_start_matches('/').split_once('/') else {
            return odata(StatusCode::NOT_FOUND, "ResourceNotFound", "no such path");
        };
        let body = if verb == "put" {
            transaction.set("records", Bytes::copy_from_slice(key.as_bytes()), request.body.clone());
            Bytes::new()
        } else {
            transaction.get("records", key.as_bytes()).unwrap_or_default()
        };
        match sequencer.commit(&transaction, Committing::default()) {
            Ok(txid) => Response::new(StatusCode::OK, body)
                .with(HeaderName::from_static("x-ms-ccf-transaction-id"), &txid.to_string()),
            Err(error) => odata(StatusCode::SERVICE_UNAVAILABLE, "InternalError", &error.to_string()),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("a directory, please")?);
    let tls = arguments.next().is_some();
    let options = Options {
        sequencer: SequencerOptions {
            view: 2,
            signature_tx_count: 5000,
            chunk_size: 5_000_000,
            max_uncommitted: 0,
            mode: SignatureMode::Dual,
        },
        ledger: LedgerOptions { directory: directory.join("ledger"), read_only: Vec::new(), sync: true },
        signature_delay: Duration::from_millis(100),
    };
    let node = Node::start(options, LedgerSecret::new(&[7; 32])?, Arc::new(FixedSigner), Silent)?;
    let begun = Instant::now();
    let puts = 200_000_u32;
    for key in 0..puts {
        let mut transaction = node.sequencer().begin();
        transaction.set(
            "warm",
            Bytes::copy_from_slice(&(key % 1000).to_le_bytes()),
            Bytes::from_static(&[1; 64]),
        );
        node.sequencer().commit(&transaction, Committing::default())?;
    }
    println!("{:.2} us a put", begun.elapsed().as_secs_f64() * 1e6 / f64::from(puts));
    let identity = if tls {
        let identity = Arc::new(TlsIdentity::default());
        identity.set(&Identity {
            certificate_pem: std::fs::read_to_string(directory.join("cert.pem"))?,
            private_key_pem: std::fs::read_to_string(directory.join("key.pem"))?,
        })?;
        Some(identity)
    } else {
        None
    };
    let interface = Interface {
        name: "rpc".into(),
        address: "127.0.0.1:0".parse()?,
        protocol: Protocol::Http1,
        identity,
        limits: Limits::default(),
    };
    let server = Server::start(vec![interface], 2, Arc::new(Records(node)))?;
    for bound in server.interfaces() {
        println!("{}", bound.address);
    }
    std::thread::park();
    Ok(())
}
