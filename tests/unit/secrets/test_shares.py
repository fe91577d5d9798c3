"""Recovery shares against vectors of real services (formats: test vectors 12, 13, 14, 25, 26)."""

from __future__ import annotations

import base64

import pytest

from tallystick.errors import FormatError, UsageError, VerificationError
from tallystick.secrets.shares import LedgerSecret, Share, combine_shares, unwrap_ledger_secret

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
    assert combine_shares(shares(texts), 2).hex() == REKEY_WRAPPING_KEY
    assert opened(texts, 2, REKEY_WRAPPED) == REKEY_SECRET


def test_an_owner_share_opens_alone_whatever_the_threshold() -> None:
    assert combine_shares(shares([OWNER_SHARE]), 2).hex() == REKEY_WRAPPING_KEY


def test_the_previous_secret_opens_under_its_successor() -> None:
    older = unwrap_ledger_secret(base64.b64decode(REKEY_PREVIOUS), bytes.fromhex(REKEY_SECRET))
    assert bytes(older).hex() == REKEY_PREVIOUS_SECRET


def test_boxed_shares_of_early_versions_open_the_secret() -> None:
    assert opened(BOXED_SHARES, 3, BOXED_WRAPPED) == BOXED_SECRET


def test_a_boxed_share_that_was_changed_does_not() -> None:
    changed = [*BOXED_SHARES[:2], BOXED_SHARES[2].replace("03174e", "03174f", 1)]
    with pytest.raises(FormatError) as caught:
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
