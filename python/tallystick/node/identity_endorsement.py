"""The service's endorsement of its identities over time (``previous_service_identity_endorsement``).

At its first opening a service endorses its own key from the transaction that created it on. Each recovery
adds an endorsement of the key before, by the new one, for the epoch that ended.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tallystick._native import CborTag, cbor_encode
from tallystick.errors import FormatError
from tallystick.node import tables
from tallystick.node.keys import SigningKey
from tallystick.types import TxId

if TYPE_CHECKING:
    from tallystick._native import NodeTransaction

__all__ = ["RECOVERY_VIEW_STEP", "endorse_previous_identity", "sign1"]

_SIGN1_TAG: Final = 18
_ALGORITHM: Final = 1
_CWT_CLAIMS: Final = 15
_ISSUED_AT: Final = 6
# A recovery skips one view: no election took place in it.
RECOVERY_VIEW_STEP: Final = 2


def sign1(key: SigningKey, protected: Mapping[int | str, object], payload: bytes) -> bytes:
    """A tagged COSE_Sign1 over ``payload``, which stays in the message."""
    header = cbor_encode(dict(protected))
    signature = key.sign_cose(cbor_encode(["Signature1", header, b"", payload]))
    return cbor_encode(CborTag(_SIGN1_TAG, [header, {}, payload, signature]))


def _endorse(
    key: SigningKey, endorsed_spki: bytes, begin: TxId, end: TxId | None, last_root: bytes | None
) -> dict[str, object]:
    epoch: dict[str, object] = {"epoch.start.txid": str(begin)}
    if end is not None:
        epoch["epoch.end.txid"] = str(end)
    if last_root is not None:
        epoch["epoch.end.merkle.root"] = last_root
    protected: dict[int | str, object] = {
        _ALGORITHM: key.cose_algorithm,
        _CWT_CLAIMS: {_ISSUED_AT: int(time.time())},
        "ccf.v1": epoch,
    }
    value: dict[str, object] = {
        "endorsement": base64.b64encode(sign1(key, protected, endorsed_spki)).decode(),
        "endorsing_key": base64.b64encode(key.spki).decode(),
        "endorsement_epoch_begin": str(begin),
    }
    if end is not None:
        value["endorsement_epoch_end"] = str(end)
    return value


def endorse_previous_identity(tx: NodeTransaction, key: SigningKey) -> None:
    """Writes the endorsement that belongs to this opening of the service.

    Raises:
        FormatError: the rows of earlier openings are not what a service writes.
    """
    info: dict[str, Any] = tables.get_json(tx, tables.SERVICE_INFO) or {}
    created = TxId.parse(str(info.get("current_service_create_txid", "")))
    previous: dict[str, Any] | None = tables.get_json(tx, tables.IDENTITY_ENDORSEMENT)
    if previous is None:
        tables.put_json(tx, tables.IDENTITY_ENDORSEMENT, _endorse(key, key.spki, created, None, None))
        return
    ended = previous.get("endorsement_epoch_end")
    if ended is None:
        begin = TxId.parse(str(previous["endorsement_epoch_begin"]))
    else:
        last = TxId.parse(str(ended))
        begin = TxId(last.view + RECOVERY_VIEW_STEP, last.seqno + 1)
    end = TxId(created.view - RECOVERY_VIEW_STEP, created.seqno - 1)
    root = tables.get_json(tx, tables.LAST_SIGNED_ROOT)
    if not isinstance(root, str):
        raise FormatError("the previous service's last signed root is not recorded", code="endorsement-malformed")
    value = _endorse(key, base64.b64decode(previous["endorsing_key"]), begin, end, bytes.fromhex(root))
    value["previous_version"] = tx.version_of_previous_write(tables.IDENTITY_ENDORSEMENT, tables.SINGLETON)
    tables.put_json(tx, tables.IDENTITY_ENDORSEMENT, value)
