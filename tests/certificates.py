"""Certificates for the TLS servers of tests: an authority of their own, and what it signs."""

from __future__ import annotations

import datetime
import ssl
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority, whose own certificate is in the file ``path``."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} of tests")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        built = self._begun(self._name, self._key.public_key(), 1).add_extension(constraints, critical=True)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str, days: int = 1) -> ssl.SSLContext:
        """Return the context of a server that shows a certificate for *names* (of hosts, or addresses); with negative
        *days*, one that ended so long ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        entries = [x509.IPAddress(ip_address(one)) if one[0].isdigit() else x509.DNSName(one) for one in names]
        built = self._begun(subject, key.public_key(), days).add_extension(
            x509.SubjectAlternativeName(entries), critical=False)
        chain = self.folder / f"{'-'.join(names)}{days}.pem"
        chain.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
                          + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                              serialization.NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context

    def _begun(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        return x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key).serial_number(
            x509.random_serial_number()).not_valid_before(ends - datetime.timedelta(days=30)).not_valid_after(ends)
