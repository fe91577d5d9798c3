"""A script for the official ccf package, which runs on both by changing one import.

Usage: PYTHON compat_script.py official|ours QUESTION ARGUMENT…; what it prints must be the same. Nothing below the
import knows which package answers.
"""

import base64
import hashlib
import json
import sys
import warnings
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate

warnings.simplefilter("ignore")

if sys.argv[1] == "ours":
    from tallystick.compat import ccf
else:
    import ccf.cose
    import ccf.ledger
    import ccf.merkletree
    import ccf.receipt
    import ccf.signatures
    import ccf.tx_id


def _digest(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def _outcome(call, *arguments, **options):
    """What a call returns, or that it raises."""
    try:
        return repr(call(*arguments, **options))
    except Exception:  # noqa: BLE001 -- that it raises is the answer
        return "raises"


def ledger(*paths):
    """Every method of chunks and transactions, the state, the verdict at every level."""
    for level in ccf.ledger.VerificationLevel:
        validator = ccf.ledger.LedgerValidator(verification_level=level)
        opened = ccf.ledger.Ledger(list(paths), committed_only=False, verification_level=level)
        seen = []
        for chunk in opened:
            seen.append((chunk.filename(), chunk.get_seqnos(), chunk.is_committed(), chunk.is_complete(), len(chunk)))
            for transaction in chunk:
                validator.add_transaction(transaction)
                seen.append(_transaction(transaction))
        last = str(validator.last_verified_txid())
        print(level.name, len(opened), validator.transaction_count, validator.signature_count, last, _digest(seen))
    chunk = opened[-1]
    print(str(chunk[0].get_txid()), str(chunk[-1].get_txid()), [str(x.get_txid()) for x in chunk[:2]], len(opened[:2]))
    state, seqno = opened.get_latest_public_state()
    print(seqno, _digest(sorted((name, sorted(rows.items())) for name, rows in state.items())))
    print(opened.last_committed_chunk_range, str(opened.get_transaction(seqno).get_txid()))
    print(sum(1 for _ in opened.transactions()), [_outcome(opened.get_transaction, wrong) for wrong in (0, seqno + 9)])


def _transaction(transaction):
    domain = transaction.get_public_domain()
    header = transaction.get_transaction_header()
    return (
        str(transaction.get_txid()),
        (transaction.gcm_header.view, transaction.gcm_header.seqno),
        (header.version, header.flags, header.size),
        (transaction.get_len(), transaction.get_offsets(), transaction.get_private_domain_size()),
        (transaction.get_write_set_digest(), transaction.get_tx_digest(), transaction.get_raw_tx()),
        (domain.get_seqno(), domain.get_tables(), domain.is_deprecated()),
        (domain.get_claims_digest(), domain.get_commit_evidence_digest()),
    )


def signatures(*paths):
    """Signature transactions taken apart and verified by hand, as an auditor's script would."""
    certificate, service, tree = {}, None, ccf.merkletree.MerkleTree()
    tree.add_leaf(bytes(32), do_hash=False)
    key = ccf.signatures.WELL_KNOWN_SINGLETON_TABLE_KEY
    for transaction in ccf.ledger.Ledger(list(paths), committed_only=False).transactions():
        tables = transaction.get_public_domain().get_tables()
        for node, value in tables.get(ccf.ledger.NODES_TABLE_NAME, {}).items():
            if value is not None and "cert" in json.loads(value):
                certificate[node.decode()] = json.loads(value)["cert"].encode()
        for node, value in tables.get(ccf.ledger.ENDORSED_NODE_CERTIFICATES_TABLE_NAME, {}).items():
            certificate[node.decode()] = value
        if ccf.ledger.SERVICE_INFO_TABLE_NAME in tables:
            service = json.loads(tables[ccf.ledger.SERVICE_INFO_TABLE_NAME][key])["cert"]
        if ccf.signatures.is_signature_transaction(tables):
            raw = ccf.signatures.parse_raw_signature_from_tx(tables)
            if raw is not None:
                node = raw.embedded_cert or certificate[raw.signing_node]
                ccf.signatures.verify_raw_root_signature(node, raw.root, raw.signature)
                ccf.signatures.verify_merkle_root(tree, raw.root)
                spki = ccf.signatures.spki_from_cert(node)
                print(raw.view, raw.seqno, raw.signing_node == hashlib.sha256(spki).hexdigest(), raw.root.hex())
            cose = ccf.signatures.parse_cose_signature_from_tx(tables)
            if cose is not None:
                root = tree.get_merkle_root()
                print(ccf.signatures.verify_cose_root_signature(service, root, cose))
                print(_outcome(ccf.signatures.verify_cose_root_signature, service, bytes(32), cose))
            embedded = ccf.merkletree.MerkleTree()
            value = tables[ccf.ledger.TREE_TABLE_NAME][key]
            print(embedded.deserialise(value) == len(value), embedded.get_merkle_root() == tree.get_merkle_root())
        tree.add_leaf(transaction.get_tx_digest(), do_hash=False)
    print(tree.get_leaf_count(), tree.get_leaf(1).hex(), len(tree.leaves), tree.get_merkle_root().hex())


def snapshots(*paths):
    """Snapshots, verified and listed."""
    for path in paths:
        try:
            with ccf.ledger.Snapshot(path) as snapshot:
                domain = snapshot.get_public_domain()
                rows = sorted((name, sorted(table.items())) for name, table in domain.get_tables().items())
                facts = (snapshot.is_committed(), snapshot.get_len(), snapshot.get_private_domain_size())
                print(Path(path).name, facts, str(snapshot.get_txid()), domain.get_seqno(), _digest(rows))
        except ccf.ledger.InvalidSnapshotException:
            print(Path(path).name, "invalid")


def receipts(certificates, *paths):
    """JSON and COSE receipts, step by step, under each certificate."""
    services = [load_pem_x509_certificate(Path(name).read_bytes()) for name in certificates.split(":")]
    for path in paths:
        data = Path(path).read_bytes()
        verdicts = [_outcome(_json if data[:1] == b"{" else _cose, data, service) for service in services]
        print(Path(path).name, verdicts)


def _json(data, service):
    receipt = json.loads(data)
    components = receipt.get("leaf_components")
    leaf = receipt.get("leaf")
    if components is not None:
        evidence = hashlib.sha256(components["commit_evidence"].encode()).hexdigest()
        parts = components["write_set_digest"] + evidence + components["claims_digest"]
        leaf = hashlib.sha256(bytes.fromhex(parts)).hexdigest()
    root = ccf.receipt.root(leaf, receipt["proof"])
    node = load_pem_x509_certificate(receipt["cert"].encode())
    ccf.receipt.verify(root, receipt["signature"], node)
    endorsements = [load_pem_x509_certificate(pem.encode()) for pem in receipt.get("service_endorsements", [])]
    ccf.receipt.check_endorsements(node, service, endorsements)
    return root, _outcome(ccf.receipt.verify, "00" * 32, receipt["signature"], node)


def _cose(data, service):
    claims = bytes(32)
    return ccf.receipt.verify_cose(data, service.public_key(), claims)


def requests(key, certificate):
    """Signed requests: what does not depend on a fresh signature is printed, the rest verified."""
    private, pem = Path(key).read_text(), Path(certificate).read_text()
    header = {"ccf.gov.msg.type": "ballot", "ccf.gov.msg.proposal_id": "ab", "ccf.gov.msg.created_at": 1700000000}
    print(ccf.cose.cert_fingerprint(pem), ccf.cose.key_fingerprint_from_cert(pem))
    for more in (None, header, {"z": 1, 33: b"x", "a": [1]}):
        message = ccf.cose.create_cose_sign1(b"payload", private, pem, more)
        headers, unprotected, payload = ccf.cose.verify_cose_sign1_with_cert(pem.encode(), message, use_key=False)
        print(list(headers.items()), unprotected, payload)
        print(_outcome(ccf.cose.verify_cose_sign1_with_cert, pem.encode(), message[:-1] + b"?", use_key=False))
        print(_outcome(ccf.cose.verify_cose_sign1_with_cert, pem.encode(), message, use_key=True))
        prepared = ccf.cose.create_cose_sign1_prepare(b"payload", pem, more)
        print(int(prepared["alg"]), prepared["value"])
        width = {-7: 64, -35: 96, -36: 132}[int(prepared["alg"])]
        signature = base64.urlsafe_b64encode(message[-width:])
        print(ccf.cose.create_cose_sign1_finish(b"payload", pem, signature, more) == message)
        # What is signed is the same on both sides; the signature is not.
        print(message[:-width].hex())


def values():
    """Small values: transaction IDs, names, trees."""
    for text in ("2.15", "0.0", "2", "2.x", "", "2.3.4", None):
        txid = ccf.tx_id.TxID.from_str(text)
        print(text, str(txid), txid.view, txid.seqno, ccf.tx_id.TxID.parse(text))
    some = [ccf.tx_id.TxID(3, 1), ccf.tx_id.TxID(2, 9), ccf.tx_id.TxID(2, 0)]
    print(sorted(some), [txid.valid() for txid in some])
    names = ["ledger_1", "ledger_3-13", "ledger_3-13.committed", "ledger_5-9.committed_prefix", "ledger_30.recovery"]
    names += ["ledger_30-41.committed.recovery", "ledger_42-41.committed_prefix", "ledger_x", "ledger_1-2.ignored"]
    for name in names:
        print(name, _outcome(ccf.ledger.range_from_filename, name), ccf.ledger.is_ledger_chunk_committed(name))
    for name in ("snapshot_1_2", "snapshot_61_62.committed", "snapshot_1", "snapshot_a_b"):
        print(name, _outcome(ccf.ledger.snapshot_index_from_filename, name))
    tree = ccf.merkletree.MerkleTree()
    print(tree.get_leaf_count(), _outcome(tree.get_merkle_root), _outcome(tree.get_leaf, 0))
    for number in range(20):
        tree.add_leaf(b"%d" % number)
        print(tree.get_leaf_count(), tree.get_merkle_root().hex(), tree.get_leaf(number).hex(), tree.leaves[0].hex())
    for status in ccf.ledger.NodeStatus:
        print(status, status.value)
    for kind in ccf.ledger.EntryType:
        print(kind, kind.value, kind.has_claims(), kind.has_commit_evidence(), kind.is_deprecated())
    print([(flag, flag.value) for flag in ccf.ledger.TransactionFlags], list(ccf.ledger.VerificationLevel))
    print(ccf.ledger.GCM_SIZE_TAG, ccf.ledger.GCM_SIZE_IV, ccf.ledger.LEDGER_HEADER_SIZE, ccf.ledger.MIN_ENTRY_SIZE)
    print(ccf.ledger.NODES_TABLE_NAME, ccf.ledger.SERVICE_INFO_TABLE_NAME, ccf.ledger.COMMITTED_FILE_SUFFIX)
    print(ccf.ledger.SIGNATURE_TX_TABLE_NAME, ccf.ledger.WELL_KNOWN_SINGLETON_TABLE_KEY, ccf.cose.GOV_MSG_TYPES)


def verdicts(*directories):
    """Whether each ledger is accepted, and the exception if not."""
    for directory in directories:
        try:
            validator = ccf.ledger.LedgerValidator()
            full = ccf.ledger.VerificationLevel.FULL
            for chunk in ccf.ledger.Ledger([directory], committed_only=False, verification_level=full):
                for transaction in chunk:
                    validator.add_transaction(transaction)
            print("accepts", validator.last_verified_txid())
        except Exception as error:  # noqa: BLE001 -- whatever it raises, it did not accept
            print("raises", type(error).__name__, validator.last_verified_txid())


if __name__ == "__main__":
    globals()[sys.argv[2]](*sys.argv[3:])
