from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from airlock.backup.driver import Place
from airlock.backup.drivers.security.tls_certificate import TlsCertificateDriver
from airlock.backup.run import prove, restore_origin, take
from airlock.errors import InvalidInput, TemporaryError
from airlock.models import Kind, Resource
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest_of_folder, make_store
from tests.contracts.driver_forms import Damage, Form, taken_by_a_folder, taken_by_a_link

SERVER_AUTHENTICATION = bytes.fromhex("300c300a06082b06010505070301")
AUTHORITY = ec.generate_private_key(ec.SECP256R1())


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject: str, key, begin: float = -1, days: float = 90) -> bytes:
    """Return a PEM certificate that the authority issued, valid from *begin* for *days* days."""
    start = datetime.now(UTC) + timedelta(days=begin)
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name("authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start).not_valid_after(start + timedelta(days=days))
        .sign(AUTHORITY, hashes.SHA256()).public_bytes(Encoding.PEM)
    )  # fmt: skip


def pem(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def install(folder: Path, **validity: float) -> None:
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "server.crt").write_bytes(certificate("shop", key, **validity) + certificate("authority", AUTHORITY))
    (folder / "server.key").write_bytes(pem(key))
    (folder / "server.key").chmod(0o600)


def driver_for(folder: Path, store, **options: object) -> TlsCertificateDriver:
    resource = Resource(
        name="shop_tls", kind=Kind.SECURITY, driver="tls_certificate",
        options={"certificate": str(folder / "server.crt"), "key": str(folder / "server.key"), **options},
    )  # fmt: skip
    return TlsCertificateDriver(resource, store)


def around(path: Path, words: bytes) -> None:
    """Put *words*, which readers of PEM skip, before what is in a file."""
    path.write_bytes(words + path.read_bytes())


class TestTlsCertificate(DriverContract):
    @pytest.fixture
    def case(self, store, tmp_path: Path) -> Case:
        folder = tmp_path / "tls"
        install(folder)
        body = (folder / "server.key").read_text().splitlines()[1]

        def spoil(place: Place) -> None:
            (Path(place.folder) / "key.pem").write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))

        stranger = ec.generate_private_key(ec.SECP256R1())
        return Case(
            driver_for(folder, store),
            change=lambda: install(folder),
            spoil=spoil,
            origin=lambda: digest_of_folder(folder),
            useless=(
                Useless("the key of another", "key belongs to the certificate", "key.pem", lambda _: pem(stranger)),
                Useless("no key", "no readable PEM private key", "key.pem", lambda _: b"nothing"),
                Useless(
                    "a passphrase", "passphrase", "key.pem", lambda _: pem(stranger, BestAvailableEncryption(b"word"))
                ),
                Useless(
                    "the chain",
                    "certificates",
                    "certificate.pem",
                    lambda content: content[: content.rindex(b"-----BEGIN")],
                ),
                Useless("another name", "subject", "certificate.pem", lambda _: certificate("other", stranger)),
            ),
            secrets=(body,),
            restored=lambda: digest_of_folder(folder, times=False),
            damages={
                "emptied": Damage(lambda: (folder / "server.key").write_text("")),
                "added": "the resource is two files; a certificate that is added is 'changed'",
                "settings": Damage(lambda: (folder / "server.key").chmod(0o644)),
                "gone": Damage(lambda: [one.unlink() for one in folder.iterdir()]),
                "taken": taken_by_a_folder(folder / "server.key"),
                "linked": taken_by_a_link(folder / "server.key", lambda: digest_of_folder(folder, times=False)),
            },
            forms={
                "text that is not UTF-8": Form(lambda: around(folder / "server.crt", b"caf\xe9\n")),
                "names at the edges": "the names of both files are those of the options",
                "modes and owners": Form(lambda: (folder / "server.key").chmod(0)),
                "disappears while it is read": "both are read in one go, and looked at again",
                "grows while it is read": "both are read in one go, and looked at again",
                "empty": Form(lambda: (folder / "server.crt").write_text(""), refused="no readable PEM certificate"),
                "huge": Form(lambda: around(folder / "server.key", b"x" * (2 << 20)), refused="no PEM file"),
                "deeply nested": "PEM has no depth",
            },
        )

    def test_files_come_back_with_their_modes(self, case: Case, place: Place, tmp_path: Path) -> None:
        case.driver.restore(self.taken(case), place)
        key = Path(place.folder) / "key.pem"
        assert key.read_bytes() == (tmp_path / "tls" / "server.key").read_bytes()
        assert key.stat().st_mode & 0o777 == 0o600

    def test_streams_that_changed_places_are_refused(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        first, second = (Path(stored.path) for stored in point.objects)
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
        self.refused(case, point, place)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(name="tls1", folder=str(tmp_path / "tls1"))


@pytest.mark.parametrize(
    ("validity", "options", "failing"),
    [
        ({"begin": -10, "days": 5}, {}, "not expired"),
        ({"begin": 2}, {}, "already valid"),
        ({"days": 10}, {"minimum_days": 14}, "not expired"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_no_proof(
    validity, options, failing, tmp_path: Path, place: Place
) -> None:
    install(tmp_path / "tls", **validity)
    driver = driver_for(tmp_path / "tls", make_store(tmp_path), **options)
    proof = prove(driver, take(driver, "t.1"), place)
    assert not proof.ok
    assert [check.name for check in proof.checks if not check.ok] == [failing]
    assert f"security.shop_tls: the backup t.1 is not proven: 1 of 10 checks failed: {failing}" in proof.reason


def test_a_chain_that_does_not_hold_is_found(tmp_path: Path, place: Place) -> None:
    install(tmp_path / "tls")
    crt = tmp_path / "tls" / "server.crt"
    leaf = crt.read_bytes().split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
    crt.write_bytes(leaf + certificate("stranger", ec.generate_private_key(ec.SECP256R1())))
    driver = driver_for(tmp_path / "tls", make_store(tmp_path))
    reason = prove(driver, take(driver, "t.1"), place).reason
    assert "CN=shop is not issued by CN=stranger" in reason


def test_half_a_renewal_is_no_backup(tmp_path: Path) -> None:
    install(tmp_path / "tls")
    (tmp_path / "tls" / "server.key").write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(TemporaryError, match="does not belong"):
        take(driver_for(tmp_path / "tls", make_store(tmp_path)), "t.1")


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("server.crt", b"rubbish", "no readable PEM certificate"),
        ("server.crt", b"", "no readable PEM certificate"),
        (
            "server.key",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "no readable PEM private key",
        ),
        ("server.key", pem(AUTHORITY, BestAvailableEncryption(b"word")), "passphrase"),
        ("server.key", b"x" * (1 << 21), "no PEM file"),
    ],
)
def test_what_is_no_pair_is_refused(file: str, content: bytes, reason: str, tmp_path: Path) -> None:
    install(tmp_path / "tls")
    (tmp_path / "tls" / file).write_bytes(content)
    with pytest.raises(InvalidInput, match=reason):
        take(driver_for(tmp_path / "tls", make_store(tmp_path)), "t.1")


@pytest.mark.parametrize("spoiled", ["old line ends", "an issuer that is cut off"])
def test_a_pair_that_no_server_can_load_is_no_proof(spoiled: str, tmp_path: Path, place: Place) -> None:
    install(tmp_path / "tls")
    path = tmp_path / "tls" / "server.crt"
    content = path.read_bytes()
    path.write_bytes({
        "old line ends": content.replace(b"\n", b"\r"),
        "an issuer that is cut off": content + content[:-40],
    }[spoiled])  # fmt: skip
    driver = driver_for(tmp_path / "tls", make_store(tmp_path))
    proof = prove(driver, take(driver, "t.1"), place)
    assert "a server can load both files" in proof.reason


def sorts_of_keys() -> dict[str, tuple[bytes, object]]:
    """Return keys of every sort and form that servers take: what is in the file, and the key."""
    edwards, small = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 1024)
    curve = ec.generate_private_key(ec.SECP256R1())
    old = PrivateFormat.TraditionalOpenSSL
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    return {
        "Ed25519": (pem(edwards), edwards),
        "PKCS #1, short": (small.private_bytes(Encoding.PEM, old, NoEncryption()), small),
        "SEC 1 after parameters": (parameters + curve.private_bytes(Encoding.PEM, old, NoEncryption()), curve),
        "other line ends": (pem(curve).replace(b"\n", b"\r\n"), curve),
    }


@pytest.mark.parametrize("sort", ["Ed25519", "PKCS #1, short", "SEC 1 after parameters", "other line ends"])
def test_keys_of_every_sort_that_servers_take_are_proven(sort: str, tmp_path: Path, place: Place) -> None:
    install(tmp_path / "tls")
    content, key = sorts_of_keys()[sort]
    (tmp_path / "tls" / "server.key").write_bytes(content)
    # a root that ended long ago beside the one that signed harms no client
    roots = certificate("authority", AUTHORITY, -400, 30) + certificate("authority", AUTHORITY)
    (tmp_path / "tls" / "server.crt").write_bytes(certificate("shop", key) + roots)
    driver = driver_for(tmp_path / "tls", make_store(tmp_path))
    proof = prove(driver, take(driver, "t.1"), place)
    assert proof.ok, proof.reason


def unusual(sort: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return certificates that servers load, and that are not what a library for X.509 expects."""
    leaf = certificate("shop", key)
    authority = certificate("authority", AUTHORITY)
    der = x509.load_pem_x509_certificate(leaf).public_bytes(Encoding.DER)

    def block(sort: bytes, content: bytes) -> bytes:
        return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (sort, base64.encodebytes(content), sort)

    return {
        "trusted": lambda: block(b"TRUSTED CERTIFICATE", der + SERVER_AUTHENTICATION) + authority,
        "X509": lambda: block(b"X509 CERTIFICATE", der) + authority,
        # such a string is latin-1 to those who wrote it, and has no characters for others
        "a name in T61": lambda: block(b"CERTIFICATE", der.replace(b"\x0c\x04shop", b"\x14\x04sh\xfcp")),
        "an issuer of a version to come": lambda: leaf + block(
            b"CERTIFICATE",
            x509.load_pem_x509_certificate(authority).public_bytes(Encoding.DER)
            .replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03"),
        ),
        "signed by DSA": lambda: signed_by(dsa.generate_private_key(2048), key),
    }[sort]()  # fmt: skip


def signed_by(issuer: dsa.DSAPrivateKey, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a certificate of *key* and one of its *issuer*."""
    start = datetime.now(UTC) - timedelta(days=1)

    def made(subject: str, whose: object) -> bytes:
        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("root"))
        builder = builder.public_key(whose.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(start + timedelta(days=9))
        return builder.sign(issuer, hashes.SHA256()).public_bytes(Encoding.PEM)

    return made("shop", key) + made("root", issuer)


@pytest.mark.parametrize(
    "sort", ["trusted", "X509", "a name in T61", "an issuer of a version to come", "signed by DSA"]
)
def test_what_servers_load_is_proven_and_comes_back(sort: str, tmp_path: Path, place: Place) -> None:
    """After reports of cryptography, pyOpenSSL and openssl: strings, versions and blocks that OpenSSL takes."""
    install(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "server.crt").write_bytes(unusual(sort, key))
    (tmp_path / "server.key").write_bytes(pem(key))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    driver = driver_for(tmp_path, make_store(tmp_path / "store"))
    point = take(driver, "2026-01-01-0001.shop", poll_seconds=0.01)
    assert prove(driver, point, place).ok
    before = (tmp_path / "server.crt").read_bytes()
    (tmp_path / "server.crt").write_text("")
    assert restore_origin(driver, point).ok
    assert (tmp_path / "server.crt").read_bytes() == before


def test_a_version_that_nobody_knows_is_refused_in_words(tmp_path: Path) -> None:
    install(tmp_path)
    leaf, _ = x509.load_pem_x509_certificates((tmp_path / "server.crt").read_bytes())
    der = leaf.public_bytes(Encoding.DER).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03")
    encoded = base64.encodebytes(der)
    (tmp_path / "server.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\n" + encoded + b"-----END CERTIFICATE-----\n")
    with pytest.raises(InvalidInput, match="no readable PEM certificate"):
        driver_for(tmp_path, make_store(tmp_path / "store")).inspect()
