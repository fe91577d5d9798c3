"""Ledger, Chunk and Transaction: what is read, and what is refused."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from support.small_ledger import RECORDS
from tallystick import Chunk, Ledger, MerkleTree, Transaction, TxId
from tallystick.errors import FormatError, UsageError
from tallystick.ledger.history import key_history
from tallystick.ledger.state import Row, public_state


def test_transactions_come_in_order_across_chunks(small_ledger: Path) -> None:
    ledger = Ledger(small_ledger, uncommitted=True)
    assert [str(transaction.txid) for transaction in ledger] == [
        "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "3.7", "3.8", "3.9", "3.10",
    ]  # fmt: skip
    assert (len(ledger), ledger.first_seqno, ledger.last_seqno) == (10, 1, 10)
    assert [chunk.first_seqno for chunk in ledger.chunks()] == [1, 3, 7]


def test_committed_chunks_only_by_default(small_ledger: Path) -> None:
    ledger = Ledger(small_ledger)
    assert (len(ledger), ledger.last_seqno) == (6, 6)
    assert ledger.files.left_out


def test_ranges_include_both_ends(small_ledger: Path) -> None:
    ledger = Ledger(small_ledger, uncommitted=True)
    assert [transaction.seqno for transaction in ledger.transactions(2, 4)] == [2, 3, 4]
    assert [transaction.seqno for transaction in ledger.transactions(9)] == [9, 10]
    assert [transaction.seqno for transaction in ledger.transactions(last=1)] == [1]
    assert list(ledger.transactions(11)) == []


@pytest.mark.parametrize("seqno", range(1, 11))
def test_random_access_finds_what_iteration_finds(small_ledger: Path, seqno: int) -> None:
    ledger = Ledger(small_ledger, uncommitted=True)
    (wanted,) = ledger.transactions(seqno, seqno)
    found = ledger.get_transaction(seqno)
    assert found == wanted
    assert (found.file, found.offset) == (wanted.file, wanted.offset)
    assert found == Transaction.parse(found.raw)


@pytest.mark.parametrize("seqno", [0, -1, 11])
def test_a_seqno_that_is_not_there(small_ledger: Path, seqno: int) -> None:
    with pytest.raises(UsageError, match="the ledger holds seqnos 1 to 10") as caught:
        Ledger(small_ledger, uncommitted=True).get_transaction(seqno)
    assert caught.value.code == "transaction-missing"


def test_fields_of_a_transaction(small_ledger: Path) -> None:
    transaction = Ledger(small_ledger).get_transaction(3)
    assert transaction.txid == TxId(2, 3)
    assert transaction.tables == {RECORDS: {b"a": b"second"}}
    assert transaction.table(RECORDS) == {b"a": b"second"}
    assert transaction.table("public:other") is None
    assert transaction.table_names == [RECORDS]
    assert not transaction.is_signature
    assert transaction.private_size > 0
    assert transaction.claims_digest == b"\x11" * 32
    assert transaction.write_set_digest == hashlib.sha256(transaction.raw).digest()
    parts = transaction.write_set_digest, transaction.commit_evidence_digest, transaction.claims_digest
    assert transaction.leaf == hashlib.sha256(b"".join(part for part in parts if part)).digest()
    assert transaction.size == len(transaction.raw)
    assert Path(str(transaction.file)).read_bytes()[transaction.offset :][: transaction.size] == transaction.raw


def test_a_missing_chunk_is_not_read_across(small_ledger: Path, tmp_path: Path) -> None:
    shutil.copytree(small_ledger, tmp_path / "ledger")
    (tmp_path / "ledger" / "ledger_3-6.committed").unlink()
    read = []
    with pytest.raises(FormatError) as caught:
        read.extend(transaction.seqno for transaction in Ledger(tmp_path / "ledger", uncommitted=True))
    assert caught.value.code == "chunk-gap"
    lenient = Ledger(tmp_path / "ledger", uncommitted=True, allow_gaps=True)
    assert [transaction.seqno for transaction in lenient] == [1, 2, 7, 8, 9, 10]
    assert "chunk-gap" in {finding.code for finding in lenient.findings}
    with pytest.raises(UsageError):
        lenient.get_transaction(4)


def test_a_chunk_that_holds_other_seqnos_than_its_name(small_ledger: Path, tmp_path: Path) -> None:
    shutil.copy(small_ledger / "ledger_3-6.committed", tmp_path / "ledger_4-7.committed")
    with pytest.raises(FormatError) as caught:
        list(Ledger(tmp_path))
    assert caught.value.code == "chunk-name"
    assert [transaction.seqno for transaction in Chunk(tmp_path / "ledger_4-7.committed")] == [3, 4, 5, 6]


def test_a_damaged_entry_names_file_and_offset(small_ledger: Path, tmp_path: Path) -> None:
    data = bytearray((small_ledger / "ledger_3-6.committed").read_bytes())
    second = Chunk(small_ledger / "ledger_3-6.committed")[1]
    data[second.offset + 44] = 9  # entry type
    path = tmp_path / "ledger_3-6.committed"
    path.write_bytes(data)
    with pytest.raises(FormatError) as caught:
        list(Chunk(path))
    assert caught.value.location.file == str(path)
    assert caught.value.location.offset is not None
    assert second.offset <= caught.value.location.offset < second.offset + second.size


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Ledger(tmp_path / "nothing")


def test_an_empty_directory_holds_an_empty_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert (list(ledger), len(ledger), ledger.first_seqno, ledger.last_seqno) == ([], 0, None, None)


def test_chunk_is_a_sequence(small_ledger: Path) -> None:
    chunk = Chunk(small_ledger / "ledger_3-6.committed")
    assert (len(chunk), chunk.first_seqno, chunk.last_seqno) == (4, 3, 6)
    assert chunk.is_complete
    assert chunk.is_committed
    assert [item.seqno for item in chunk] == [3, 4, 5, 6]
    assert (chunk[0].seqno, chunk[-1].seqno) == (3, 6)
    assert [item.seqno for item in chunk[1:3]] == [4, 5]
    assert [item.seqno for item in chunk[::-2]] == [6, 4]
    with pytest.raises(IndexError):
        chunk[4]


def test_an_open_chunk_with_a_half_written_end(small_ledger: Path, tmp_path: Path) -> None:
    path = tmp_path / "ledger_7"
    path.write_bytes((small_ledger / "ledger_7").read_bytes()[:-5])
    chunk = Chunk(path)
    assert not chunk.is_complete
    assert chunk.partial_tail is not None
    assert [item.seqno for item in chunk] == [7, 8, 9]


def test_files_that_overlap_are_read_once(small_ledger: Path, tmp_path: Path) -> None:
    shutil.copytree(small_ledger, tmp_path / "copy")
    ledger = Ledger([small_ledger, tmp_path / "copy"], uncommitted=True)
    assert [transaction.seqno for transaction in ledger] == list(range(1, 11))


def test_the_tree_over_all_leaves_is_what_the_next_signature_carries(small_ledger: Path) -> None:
    tree = MerkleTree()
    compared = 0
    for transaction in Ledger(small_ledger, uncommitted=True):
        if transaction.is_signature:
            (compact,) = (transaction.table("public:ccf.internal.tree") or {}).values()
            assert compact is not None
            assert MerkleTree.from_compact(compact).root() == tree.root()
            compared += 1
        tree.append(transaction.leaf)
    assert compared == 4


# ----------------------------------------------------------------------------------------------- state


def test_state_at_a_seqno(small_ledger: Path) -> None:
    ledger = Ledger(small_ledger, uncommitted=True)
    assert public_state(ledger, 3).tables[RECORDS] == {b"a": Row(b"second", 3), b"b": Row(b"2", 1)}
    last = public_state(ledger)
    assert last.seqno == 10
    assert last.get(RECORDS, b"a") == b"unsigned"
    assert last.get(RECORDS, b"b") is None


def test_state_of_chosen_tables(small_ledger: Path) -> None:
    state = public_state(Ledger(small_ledger), select=lambda name: name == "public:counts")
    assert set(state.tables) == {"public:counts"}


def test_state_needs_the_beginning(small_ledger: Path) -> None:
    with pytest.raises(UsageError) as caught:
        public_state(Ledger(small_ledger / "ledger_3-6.committed"))
    assert caught.value.code == "state-incomplete"


def test_state_does_not_reach_past_the_end(small_ledger: Path) -> None:
    with pytest.raises(UsageError) as caught:
        public_state(Ledger(small_ledger), 7)
    assert caught.value.code == "transaction-missing"


def test_history_of_a_key(small_ledger: Path) -> None:
    ledger = Ledger(small_ledger, uncommitted=True)
    found = [(str(write.transaction.txid), write.value) for write in key_history(ledger, RECORDS, b"b")]
    assert found == [("2.1", b"2"), ("2.4", None)]
    both = [(write.transaction.seqno, write.key) for write in key_history(ledger, RECORDS, [b"a", b"b"], last=3)]
    assert sorted(both) == [(1, b"a"), (1, b"b"), (3, b"a")]


def test_state_from_a_snapshot_and_the_rest_equals_replay(ccf_built: Path) -> None:
    ledger = Ledger(ccf_built / "js1" / "ledger", uncommitted=True)
    compared = 0
    for snapshot in sorted((ccf_built / "js1" / "snapshots").glob("snapshot_*.committed")):
        seqno = int(snapshot.name.split("_")[1])
        replayed = public_state(ledger, seqno)
        loaded = public_state(None, snapshot=snapshot)
        assert loaded.tables == replayed.tables
        compared += 1
    assert compared > 0
    assert public_state(ledger, snapshot=snapshot).tables == public_state(ledger).tables
