"""Secrets planted in everything that a release touches, and the search for them in all that it leaves behind."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import psycopg

from sandbox import credentials, postgres, reach
from sandbox.layout import Layout

_SHORT = 8
"""Shorter values occur by chance."""


def plant(layout: Layout, given: Mapping[str, str]) -> dict[str, str]:
    """Put a new secret into each place of production that a backup reads; return place -> secret.

    Quotes, umlauts and slashes look different in each way of writing, so that each way must be searched for.
    """
    token = secrets.token_hex
    made = {place: f'planted "{place}"/ä+{token(12)}' for place in ("vault", "row", "upload", "log line", "kubernetes")}
    made |= {"env file": f"planted-env-{token(12)}", "role": f"planted-role-{token(12)}"}
    host = layout.host("prod")
    with (host / ".env").open("a") as stream:
        stream.write(f"PLANTED={made['env file']}\n")
    (host / "uploads" / "planted.txt").write_text(made["upload"])
    with (host / "logs" / "access.log").open("a") as stream:
        stream.write(made["log line"] + "\n")
    vault = json.loads(given["AIRFLOW_CONN_SHOP_VAULT"])
    headers = {"X-Vault-Token": vault["password"]}
    body = {"data": {"planted": made["vault"]}}
    reach.call("POST", f"{layout.url('vault')}/v1/shop-prod/data/planted", body, headers)
    held = credentials.load(layout.sandbox)
    database = f"postgresql://{postgres.ADMIN}:{held.postgres}@127.0.0.1:{layout.port('postgres')}/shop_prod"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO customers (name, email) VALUES (%s, 'planted@example.test')", (made["row"],))
        connection.execute(f"CREATE ROLE planted LOGIN PASSWORD '{made['role']}'")
        connection.execute("GRANT SELECT ON customers TO planted")
    _kubernetes_secret(layout, made["kubernetes"])
    return made


def _kubernetes_secret(layout: Layout, value: str) -> None:
    from kubernetes import client, config

    with config.new_client_from_config(str(layout.kubeconfig)) as api:
        body = {"metadata": {"name": "planted"}, "stringData": {"key": value}, "type": "Opaque"}
        client.CoreV1Api(api).create_namespaced_secret("shop-prod", body)


def held_secrets(layout: Layout, given: Mapping[str, str]) -> dict[str, str]:
    """Every secret that the sandbox made for itself: place -> value."""
    held = credentials.load(layout.sandbox)
    found = {
        name: str(value)
        for name, value in vars(held).items()
        if name not in ("people", "signing_key", "backup_recipient")
    }
    found |= {f"password of {name}": value for name, value in held.people.items()}
    found["signing key"] = held.signing_key.splitlines()[1]
    for name, text in given.items():
        if name.startswith("AIRFLOW_CONN_"):
            password = json.loads(text).get("password", "")
            found[name] = password.splitlines()[1] if "BEGIN" in password else password
    for line in (layout.host("prod") / ".env").read_text().splitlines():
        name, _, value = line.partition("=")
        if name in ("SESSION_KEY", "DATABASE_URL"):
            found[f".env {name}"] = value
    found["TLS key"] = (layout.host("prod") / "tls" / "server.key").read_text().splitlines()[1]
    terraform = json.loads((layout.terraform_state).read_text())
    found["terraform"] = terraform["outputs"]["database_password"]["value"]
    return {name: value for name, value in found.items() if len(value) >= _SHORT}


def forms(secret: str) -> set[bytes]:
    """Every way in which *secret* may be written: plain, as JSON, in URLs, and as base64 at any of three offsets."""
    json_once = json.dumps(secret)[1:-1]
    texts = {
        secret,
        json_once,
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(json_once)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        repr(secret)[1:-1],
    }
    found = {text.encode() for text in texts}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # The characters at both ends depend on what stands before and after.
            encoded = encode(b"\0" * offset + secret.encode())
            found.add(encoded[(0, 2, 3)[offset] : -4])
    return found


def pieces(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below *folder* by name, with packs opened."""
    for root, _, files in os.walk(folder):
        for name in files:
            path = Path(root) / name
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    yield from ((f"{path}!{inner}", archive.read(inner)) for inner in archive.namelist())
            else:
                yield str(path), path.read_bytes()


def database_dump(layout: Layout) -> bytes:
    """All of Airflow's metadata database as plain text."""
    held = credentials.load(layout.sandbox)
    url = f"postgresql://airflow@127.0.0.1:{layout.port('postgres')}/airflow"
    done = subprocess.run(
        [postgres.binaries() / "pg_dump", "--no-owner", "--inserts", url],
        capture_output=True,
        check=True,
        timeout=240,
        env={**os.environ, "PGPASSWORD": held.airflow_database},
    )
    return done.stdout


def leaks(secrets_: Mapping[str, str], where: str, data: bytes) -> list[str]:
    """Name each of *secrets_* that is in *data*, never its value."""
    return [f"{place} in {where}" for place, secret in secrets_.items() if any(form in data for form in forms(secret))]


class CommandLines:
    """The command lines of all processes of this machine, seen again and again until it is stopped."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.looks = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> bytes:
        """End the watch and return every command line that was seen."""
        self._stopped.set()
        self._thread.join(30)
        return b"\n".join(sorted(self.seen))

    def _watch(self) -> None:
        while not self._stopped.wait(0.05):
            self.looks += 1
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        self.seen.add((entry / "cmdline").read_bytes().replace(b"\0", b" "))
                    except OSError:  # it has ended
                        continue
