"""Runs inside the official package's interpreter: answers questions about files with the official ccf package.

Usage: PYTHON peer_program.py QUESTION ARGUMENT…, the answer is one JSON object on stdout. This file imports
nothing of ours: two opinions are only worth something while they are apart.
"""

import contextlib
import hashlib
import json
import sys
import time
import warnings
from pathlib import Path

import ccf.ledger
import ccf.receipt
from cryptography.x509 import load_pem_x509_certificate

warnings.simplefilter("ignore")


def _hex(value):
    return None if value is None else value.hex()


def ledger(*directories):
    """The verdict at FULL, and what every transaction consists of."""
    transactions = []
    validator = ccf.ledger.LedgerValidator()
    try:
        for chunk in ccf.ledger.Ledger(list(directories), committed_only=False):
            for transaction in chunk:
                validator.add_transaction(transaction)
                domain = transaction.get_public_domain()
                tables = {
                    name: {key.hex(): _hex(value) for key, value in rows.items()}
                    for name, rows in domain.get_tables().items()
                }
                transactions.append(
                    {
                        "txid": f"{transaction.gcm_header.view}.{transaction.gcm_header.seqno}",
                        "leaf": transaction.get_tx_digest().hex(),
                        "write_set_digest": transaction.get_write_set_digest().hex(),
                        "claims_digest": _hex(domain.get_claims_digest()),
                        "commit_evidence_digest": _hex(domain.get_commit_evidence_digest()),
                        "size": transaction.get_len(),
                        "tables": hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest(),
                    }
                )
    except Exception as error:  # noqa: BLE001 - whatever it raises, it did not accept
        return {"verdict": "failed", "error": repr(error), "transactions": transactions}
    return {
        "verdict": "verified",
        "last_txid": str(validator.last_verified_txid()),
        "signatures": validator.signature_count,
        "transactions": transactions,
    }


def verify(*directories):
    """The verdict at FULL only, with the seconds that it took."""
    started = time.perf_counter()
    validator = ccf.ledger.LedgerValidator()
    count = 0
    try:
        for chunk in ccf.ledger.Ledger(list(directories), committed_only=False):
            for transaction in chunk:
                validator.add_transaction(transaction)
                count += 1
    except Exception as error:  # noqa: BLE001 - whatever it raises, it did not accept
        return {"verdict": "failed", "error": repr(error), "seconds": time.perf_counter() - started}
    return {
        "verdict": "verified",
        "last_txid": str(validator.last_verified_txid()),
        "signatures": validator.signature_count,
        "transactions": count,
        "seconds": time.perf_counter() - started,
    }


def split(listing):
    """Splits each [path, seqno, directory] of a JSON file with the official split_ledger, at any transaction."""
    from ccf import split_ledger

    answers = []
    for path, seqno, directory in json.loads(Path(listing).read_text()):
        with contextlib.redirect_stdout(sys.stderr):
            answers.append(split_ledger.run([path, str(seqno), "--output-dir", directory, "--allow-non-signature"]))
    return answers


def snapshot(path):
    """Whether the official class accepts a snapshot file."""
    try:
        with ccf.ledger.Snapshot(path) as opened:
            tables = opened.get_public_domain().get_tables()
    except Exception as error:  # noqa: BLE001 - whatever it raises, it did not accept
        return {"verdict": "failed", "error": repr(error)}
    return {"verdict": "verified", "tables": sorted(tables)}


def _json_receipt(document, service):
    components = document.get("leaf_components")
    if components:
        leaf = bytes.fromhex(components["write_set_digest"])
        leaf += hashlib.sha256(components["commit_evidence"].encode()).digest()
        leaf += bytes.fromhex(components.get("claims_digest", ""))
        leaf = hashlib.sha256(leaf).hexdigest()
    else:
        leaf = document["leaf"]
    root = ccf.receipt.root(leaf, document["proof"])
    node = load_pem_x509_certificate(document["cert"].encode())
    ccf.receipt.verify(root, document["signature"], node)
    endorsements = [load_pem_x509_certificate(pem.encode()) for pem in document.get("service_endorsements", [])]
    ccf.receipt.check_endorsements(node, service, endorsements)


def receipts(certificate, claims, *paths):
    """The verdict on each receipt; COSE receipts are checked against the claims digest, hex."""
    service = load_pem_x509_certificate(Path(certificate).read_bytes())
    verdicts = []
    started = time.perf_counter()
    for path in paths:
        data = Path(path).read_bytes()
        try:
            if data[:1] == b"{":
                _json_receipt(json.loads(data), service)
            else:
                ccf.receipt.verify_cose(data, service.public_key(), bytes.fromhex(claims))
            verdicts.append("verified")
        except Exception as error:  # noqa: BLE001 - whatever it raises, it did not accept
            verdicts.append(f"failed: {error!r}")
    return {"verdicts": verdicts, "seconds": time.perf_counter() - started}


def receipts_in(certificate, listing):
    """As ``receipts``, the paths of JSON receipts read from a file, a line each."""
    return receipts(certificate, "", *Path(listing).read_text().splitlines())


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
