"""A hardware maker of our own: chains and reports in AMD's form, so that every field can be what a test wants.

The root is nobody's; a test makes it count by adding it to the pinned ones.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support import cbor
from support.cbor import Tagged
from support.services import SOURCE

_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
_TCB = {"1": 4, "2": 0, "3": 24, "8": 219}
CHIP = bytes(range(64))
MEASUREMENT = b"\x11" * 48
HOST_DATA = hashlib.sha256(b"policy").digest()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: str, issuer: str, key: object) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(1)
        .not_valid_before(SOURCE.now)
        .not_valid_after(SOURCE.now.replace(year=SOURCE.now.year + 9))
    )


@dataclass
class Maker:
    """Root, intermediate and chip keys, and what they sign."""

    root: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    middle: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    chip: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))

    @property
    def fingerprint(self) -> str:
        """Of the root's key."""
        spki = self.root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()

    def endorsements(self, *, chip_id: bytes = CHIP, tcb: dict[str, int] | None = None) -> bytes:
        """PEM chain VCEK, ASK, ARK."""
        vcek = _builder("VCEK", "ASK", self.chip.public_key())
        for number, value in (tcb or _TCB).items():
            oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.3704.1.3.{number}")
            encoded = b"\x02\x01" + bytes([value]) if value < 128 else b"\x02\x02\x00" + bytes([value])
            vcek = vcek.add_extension(x509.UnrecognizedExtension(oid, encoded), critical=False)
        chip_oid = x509.ObjectIdentifier("1.3.6.1.4.1.3704.1.4")
        vcek = vcek.add_extension(x509.UnrecognizedExtension(chip_oid, chip_id), critical=False)
        certificates = [
            vcek.sign(self.middle, hashes.SHA384(), rsa_padding=_PSS),
            _builder("ASK", "ARK", self.middle.public_key()).sign(self.root, hashes.SHA384(), rsa_padding=_PSS),
            _builder("ARK", "ARK", self.root.public_key()).sign(self.root, hashes.SHA384(), rsa_padding=_PSS),
        ]
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)

    def report(
        self,
        node_id: str,
        *,
        policy: int = 0x30000,
        vmpl: int = 0,
        version: int = 2,
        measurement: bytes = MEASUREMENT,
        host_data: bytes = HOST_DATA,
    ) -> bytes:
        """A signed report for a node's key."""
        body = bytearray(0x2A0)
        struct.pack_into("<IIQ", body, 0, version, 1, policy)
        struct.pack_into("<II", body, 0x30, vmpl, 1)
        body[0x50:0x70] = bytes.fromhex(node_id)
        body[0x90:0xC0] = measurement
        body[0xC0:0xE0] = host_data
        body[0x180:0x188] = bytes([_TCB["1"], _TCB["2"], 0, 0, 0, 0, _TCB["3"], _TCB["8"]])
        body[0x1A0:0x1E0] = CHIP
        numbers = decode_dss_signature(self.chip.sign(bytes(body), ec.ECDSA(hashes.SHA384())))
        signature = b"".join(number.to_bytes(48, "little") + bytes(24) for number in numbers)
        return bytes(body) + signature + bytes(1184 - 0x2A0 - len(signature))


@cache
def maker() -> Maker:
    """The maker that tests share."""
    return Maker()


@dataclass
class UtilityVmMaker:
    """Vouches for launch measurements, with a chain of its own."""

    root: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))
    leaf: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))

    def chain(self) -> list[bytes]:
        """DER, leaf first."""
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
        leaf = _builder("leaf", "root", self.leaf.public_key()).add_extension(usage, critical=False)
        root = _builder("root", "root", self.root.public_key())
        return [made.sign(self.root, hashes.SHA384()).public_bytes(Encoding.DER) for made in (leaf, root)]

    def endorse(
        self,
        measurement: bytes = MEASUREMENT,
        *,
        usage: str = ExtendedKeyUsageOID.CODE_SIGNING.dotted_string,
        svn: object = 7,
        flip: bool = False,
    ) -> bytes:
        """A COSE_Sign1 over the measurement, in the layout with CWT claims."""
        chain = self.chain()
        named = base64.urlsafe_b64encode(hashlib.sha256(chain[-1]).digest()).rstrip(b"=").decode()
        claims = {1: f"did:x509:0:sha256:{named}::eku:{usage}", 2: "UVM", "svn": svn}
        protected = cbor.encode({1: -35, 15: claims, 33: chain})
        signed = cbor.encode(["Signature1", protected, b"", measurement])
        r, s = decode_dss_signature(self.leaf.sign(signed, ec.ECDSA(hashes.SHA384())))
        signature = bytearray(r.to_bytes(48, "big") + s.to_bytes(48, "big"))
        signature[7] ^= flip
        return cbor.encode(Tagged(18, [protected, {}, measurement, bytes(signature)]))


@cache
def utility_vm_maker() -> UtilityVmMaker:
    """The one that tests share."""
    return UtilityVmMaker()
