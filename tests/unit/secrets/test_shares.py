"""Recovery shares against vectors of real services (formats: test vectors 12, 13, 14, 25, 26)."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tallystick import _native
from tallystick.errors import FormatError, UsageError, VerificationError
from tallystick.secrets.open import read_secret_file
from tallystick.secrets.shares import (
    LedgerSecret,
    Share,
    combine_shares,
    decrypt_share_bytes,
    load_encryption_key,
    split_wrapping_key,
    unwrap_ledger_secret,
    wrap_ledger_secret,
)

# cose_flipflop, seqno 13: one member, threshold 1.
ONE_SHARE = "0100000096937a715cef116095e7645ed312d44eabb67b6106065d6e3c718c3ba8b8b835ce422a0d24c54d36"
ONE_WRAPPED = (
    "826446cd54f4891981cc2ef9021518d70000000000000000000000001696347c8ba886ab563328e34dab32ae"
    "852ce601b8c3f8113fbd71228252d08d"
)
ONE_SECRET = "d917951c0773a06148d2ff5bf0c984d075fdceb601255157ac004bb53b351079"

# js1, transaction 2.832: three members, threshold 2.
REKEY_SHARES = [
    "01000000196a4545c58b225b42ecf108e0b53b12c4dcbf1fd3557b23654ea46a11ab7c23ce567533420a9f22",
    "02000000be6b230574858951914afe5686b9c15cac59f767cb52210a5b6f01605c3f1769ccc97d25164a4475",
    "03000000626d0145237ff047e1a80a252dbd472795d62e30c24fc77051905e55a8d3b12eca3c8617eb89e947",
]
OWNER_SHARE = "00000000756867051692bb64f28de53a39b2b547db5f8857db58d53c6f2d4775c516e25dd0e36c416dcaf94f"
REKEY_WRAPPING_KEY = "26b1e427cd2a1cb4264c3ab38607c3698482acdbaff25314c259a9ff737e60c6"
REKEY_WRAPPED = (
    "0c11ca506b65b121ae0f6235419c1c86000000000000000000000000f425d19ca6201c5c230ce0dd6a49d915"
    "0354ed12628da95622499e8fcbc03feb"
)
REKEY_SECRET = "4858781d9bb08248d8902dc1766b5b99e26a9405646fad773588f33f5d13141b"
REKEY_PREVIOUS = "Opgb+d9slFYufpf7yj4xuQ1xqwkkpmt+bGF83fKV/YZsrn2DWWra2DQlxRJ6hiaMNWpik+HFSLZRB5es"
# AES-GCM authenticates this value; it differs from the written-down vector in one digit.
REKEY_PREVIOUS_SECRET = "8b6e4a47d7964fb1333d38cd3c34459eaef981022980204c921d36c44aeb3d91"

# eol, seqno 32 (1.x): three members, threshold 3, one common box.
_BOX = (
    "88329dfbcb341f71406bd3ac8592a8251dd1c4c1f64148743f2d37be3265aedc7d340ca8d838c40b4d6d746d"
    "a3d5059c209544a3514533215d053d7bcd2ad0971556a90cb82b8c8c05629199959f3884"
)
BOXED_SHARES = [
    "01e49d4f8618eed19f71560c9a397d631963ae0a2977e84a03ba18c7ce68bab870" + _BOX,
    "022d55517d38f3de62d207cb49a1fa6cdfd6054253f4c5aba79b685a93368470d1" + _BOX,
    "03174e467379c777fef0f13e51479b0907fbe42446f1c11a31f9f182e0940a2d2f" + _BOX,
]
BOXED_WRAPPED = (
    "b82fe013612fecd33908f1d7433de2c000000000000000000000000052411f04748ff2e4d17ce7c9be1d3094"
    "ba77fc1fa823ea416b5255106e36cea3"
)
BOXED_SECRET = "5f8fd0e86cc3f3ea3f663392485d198931032090f571135f54d3b07e69f41b02"


def shares(texts: list[str]) -> list[Share]:
    return [Share.parse(bytes.fromhex(text)) for text in texts]


def opened(texts: list[str], threshold: int, wrapped: str) -> str:
    key = combine_shares(shares(texts), threshold)
    return bytes(unwrap_ledger_secret(bytes.fromhex(wrapped), key)).hex()


def test_a_single_share_opens_the_secret() -> None:
    assert opened([ONE_SHARE], 1, ONE_WRAPPED) == ONE_SECRET


@pytest.mark.parametrize("chosen", [(0, 1), (0, 2), (1, 2), (2, 1, 0)])
def test_any_shares_up_to_the_threshold_open_the_secret(chosen: tuple[int, ...]) -> None:
    texts = [REKEY_SHARES[index] for index in chosen]
    assert bytes(combine_shares(shares(texts), 2)).hex() == REKEY_WRAPPING_KEY
    assert opened(texts, 2, REKEY_WRAPPED) == REKEY_SECRET


def test_an_owner_share_opens_alone_whatever_the_threshold() -> None:
    assert bytes(combine_shares(shares([OWNER_SHARE]), 2)).hex() == REKEY_WRAPPING_KEY


def test_the_previous_secret_opens_under_its_successor() -> None:
    older = unwrap_ledger_secret(base64.b64decode(REKEY_PREVIOUS), bytes.fromhex(REKEY_SECRET))
    assert bytes(older).hex() == REKEY_PREVIOUS_SECRET


def test_boxed_shares_of_early_versions_open_the_secret() -> None:
    assert opened(BOXED_SHARES, 3, BOXED_WRAPPED) == BOXED_SECRET


def test_a_boxed_share_that_was_changed_does_not() -> None:
    changed = [*BOXED_SHARES[:2], BOXED_SHARES[2].replace("03174e", "03174f", 1)]
    with pytest.raises(VerificationError) as caught:
        combine_shares(shares(changed), 3)
    assert caught.value.code == "shares-box"


def test_too_few_shares_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        combine_shares(shares(REKEY_SHARES[:1]), 2)
    assert caught.value.code == "shares-too-few"


def test_a_share_off_the_polynomial_is_named() -> None:
    wrong = REKEY_SHARES[2].replace("626d", "636d", 1)
    with pytest.raises(VerificationError, match="share 3 does not lie") as caught:
        combine_shares(shares([*REKEY_SHARES[:2], wrong]), 2)
    assert caught.value.code == "shares-inconsistent"


def test_two_shares_at_one_point_must_agree() -> None:
    with pytest.raises(VerificationError):
        combine_shares(shares([REKEY_SHARES[0], REKEY_SHARES[0].replace("196a", "1a6a", 1)]), 2)


@pytest.mark.parametrize("size", [0, 1, 43, 45, 112, 114])
def test_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(FormatError) as caught:
        Share.parse(bytes(size))
    assert caught.value.code == "share-malformed"


def test_values_outside_the_field_are_refused() -> None:
    with pytest.raises(FormatError):
        Share.parse(b"\x01\0\0\0" + b"\xff" * 40)


def test_a_wrong_wrapping_key_is_refused() -> None:
    with pytest.raises(VerificationError) as caught:
        unwrap_ledger_secret(bytes.fromhex(REKEY_WRAPPED), bytes(32))
    assert caught.value.code == "secret-unwrap"


def test_secrets_and_shares_do_not_show_themselves() -> None:
    secret = LedgerSecret(bytes.fromhex(ONE_SECRET))
    assert ONE_SECRET not in f"{secret!r} {secret} {[secret]}"
    assert "150" not in repr(shares([ONE_SHARE])[0])


def test_a_buffer_that_is_taken_is_wiped() -> None:
    buffer = bytearray(bytes.fromhex(ONE_SECRET))

    secret = LedgerSecret.take(buffer)

    assert buffer == bytearray(32)
    assert secret == LedgerSecret(bytes.fromhex(ONE_SECRET))
    assert secret != LedgerSecret.random()
    too_long = bytearray(b"\xff" * 33)
    with pytest.raises(FormatError) as caught:
        LedgerSecret.take(too_long)
    assert (caught.value.code, too_long) == ("secret-length", bytearray(33))


def test_secrets_are_no_keys_of_tables_and_no_bytes() -> None:
    secret = LedgerSecret(bytes.fromhex(ONE_SECRET))

    assert not isinstance(secret, bytes)
    with pytest.raises(TypeError):
        hash(secret)
    for protocol in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            protocol(secret)
    assert secret != bytes.fromhex(ONE_SECRET)


def test_a_held_secret_seals_and_opens_as_its_bytes_do() -> None:
    secret = LedgerSecret(bytes.fromhex(REKEY_SECRET))
    domain = _native.encode_public_domain(9, {"public:t": {b"k": b"v"}}, entry_type=0)
    private = _native.encode_private_domain({"t": {b"k": b"v"}})

    sealed = _native.seal_entry(2, 9, domain, private, secret)

    assert sealed == _native.seal_entry(2, 9, domain, private, bytes(secret))
    entry = _native.Entry.parse(sealed)
    assert _native.open_private_domain(entry, secret) == private
    assert _native.open_private_domains([entry, entry, entry], [secret, None, LedgerSecret.random()]) == [
        private,
        None,
        None,
    ]
    assert _native.commit_evidence(secret, 2, 9) == _native.commit_evidence(bytes(secret), 2, 9)


def test_splitting_is_undone_by_any_threshold_of_shares() -> None:
    key, full, parts = split_wrapping_key(4, 2)
    secret = LedgerSecret.random()
    wrapped = wrap_ledger_secret(secret, key)

    assert [part.x for part in parts] == [1, 2, 3, 4]
    for chosen in ([full], parts[1:3], parts):
        again = [Share.parse(part.serialise()) for part in chosen]
        assert unwrap_ledger_secret(wrapped, combine_shares(again, 2)) == secret
    with pytest.raises(UsageError) as caught:
        split_wrapping_key(2, 3)
    assert caught.value.code == "threshold-out-of-range"


@pytest.mark.parametrize("encoding", ["PKCS8", "TraditionalOpenSSL"])
def test_shares_are_decrypted_with_a_members_key(encoding: str, tmp_path: Path) -> None:
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, getattr(PrivateFormat, encoding), NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    scheme = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    encrypted = private.public_key().encrypt(bytes.fromhex(ONE_SHARE), scheme)
    key = load_encryption_key(tmp_path / "key.pem")

    assert key.decrypt_share(encrypted) == Share.parse_text(ONE_SHARE)
    assert decrypt_share_bytes(encrypted, key) == bytes.fromhex(ONE_SHARE)
    assert key.decrypt_share(encrypted[:-1] + b"\0") is None
    assert "BEGIN" not in repr(key)
    other = private.public_key().encrypt(b"short", scheme)
    with pytest.raises(FormatError):
        key.decrypt_share(other)


def test_keys_that_cannot_be_used(tmp_path: Path) -> None:
    elliptic = ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, code in ((b"", "key-unreadable"), (elliptic, "key-wrong-type"), (b"x" * (1 << 21), "key-unreadable")):
        (tmp_path / "key.pem").write_bytes(content)
        with pytest.raises(UsageError) as caught:
            load_encryption_key(tmp_path / "key.pem")
        assert (caught.value.code, caught.value.location.file) == (code, str(tmp_path / "key.pem"))
    with pytest.raises(FileNotFoundError):
        load_encryption_key(tmp_path / "missing")


@pytest.mark.parametrize("size", [0, 59, 61])
def test_a_wrapped_secret_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(FormatError) as caught:
        LedgerSecret.random().unwrap(bytes(size))
    assert caught.value.code == "secret-wrapped-length"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "secret-file-empty"),
        ("# nothing\n", "secret-file-empty"),
        ("zz", "secret-malformed"),
        (f"x:{ONE_SECRET}", "secret-malformed"),
        (f"{ONE_SECRET}\n1:{ONE_SECRET}", "secret-named-twice"),
        ("#" * (1 << 21), "key-unreadable"),
    ],
)
def test_files_that_hold_no_secrets(text: str, code: str, tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(text)

    with pytest.raises(UsageError) as caught:
        read_secret_file(file)

    assert (caught.value.code, caught.value.location.file) == (code, str(file))
    assert ONE_SECRET[:8] not in str(caught.value)


def test_a_file_of_secrets(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"# first\n{ONE_SECRET}\n 77 : {REKEY_SECRET.upper()} # rekey\r\n")

    assert read_secret_file(file) == {
        1: LedgerSecret(bytes.fromhex(ONE_SECRET)),
        77: LedgerSecret(bytes.fromhex(REKEY_SECRET)),
    }
