"""What a second backup of unchanged data costs with ``restic``: the bytes that it writes, and its time.

``python -m bench.large_folder MEBIBYTES`` measures it in a process of its own and prints one line of JSON. The data is
random, half of it in large files and half in small ones.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import child
from bench.figure import Figure

_SMALL, _LARGE = 1 << 16, 32 << 20
_SETTLED_SECONDS = 2.1
"""A file that changed a moment ago is read once more."""


def measure() -> list[Figure]:
    """Return bytes and time of the second backup beside the first, of 1 GiB (or AIRLOCK_BENCH_MIB)."""
    size = os.environ.get("AIRLOCK_BENCH_MIB", "1024")
    found = child.run("-m", "bench.large_folder", size)
    note = f"{found['restic']}; {size} MiB in {found['files']} files"
    return [
        Figure("first backup of a folder by restic", found["first_seconds"], "s", note=note),
        Figure("second backup, nothing changed", found["second_seconds"], "s", note=note),
        Figure("second backup, time of the first", 100 * found["second_seconds"] / found["first_seconds"], "%", 20),
        Figure("second backup, bytes of the first", 100 * found["second_bytes"] / found["first_bytes"], "%", 5,
               f"{found['second_bytes']} of {found['first_bytes']} bytes, the store's included"),
        Figure("restore test of it", found["proof_seconds"], "s", note=note),
    ]  # fmt: skip


def fill(root: Path, mebibytes: int) -> int:
    """Write so much into *root*; return how many files that are."""
    noise, count = random.Random(1), 0
    for name, size in (("large", _LARGE), ("small", _SMALL)):
        for number in range(max(1, (mebibytes << 20) // 2 // size)):
            path = root / name / f"{number // 100:03}" / f"{number}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(noise.randbytes(size))
            count += 1
    return count


def measured(home: Path, mebibytes: int) -> dict[str, object]:
    """Back up a folder twice, and prove the second backup."""
    import pyrage
    from upath import UPath

    from airlock.backup.drivers.storage.restic import ResticDriver
    from airlock.backup.run import prove, scratch_place, take
    from airlock.backup.store import BackupStore
    from airlock.models import Kind, Resource

    repository, root = home / "repository", home / "uploads"
    secret = {"RESTIC_PASSWORD": "of a bench", "RESTIC_REPOSITORY": str(repository),
              "RESTIC_CACHE_DIR": str(home / "cache")}  # fmt: skip
    subprocess.run(["restic", "init"], env={**os.environ, **secret}, check=True, capture_output=True)
    extra = {"repository": str(repository), "environment": {"RESTIC_CACHE_DIR": str(home / "cache")}}
    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps(
        {"conn_type": "generic", "password": secret["RESTIC_PASSWORD"], "extra": extra})
    identity = pyrage.x25519.Identity.generate()
    store = BackupStore(UPath(home / "store"), (str(identity.to_public()),), (str(identity),))
    options = {"path": str(root), "connection": "bench"}
    driver = ResticDriver(Resource(name="uploads", kind=Kind.STORAGE, driver="restic", options=options), store)
    files = fill(root, mebibytes)
    os.sync()
    time.sleep(_SETTLED_SECONDS)
    driver.inspect()  # loads what loads once
    seconds, written = [], [_bytes(home)]
    for token in ("first", "second"):
        begun = time.perf_counter()
        point = take(driver, token)
        seconds.append(time.perf_counter() - begun)
        written.append(_bytes(home))
    place = scratch_place(home / "scratch", "bench", driver.label)
    begun = time.perf_counter()
    proof = prove(driver, point, place)
    proof_seconds = time.perf_counter() - begun
    driver.discard(place)
    if not proof.ok:
        raise SystemExit(proof.reason)
    version = subprocess.run(["restic", "version"], check=True, capture_output=True, text=True).stdout
    return {
        "restic": " ".join(version.split()[:2]), "files": files, "proof_seconds": round(proof_seconds, 2),
        "first_seconds": round(seconds[0], 2), "second_seconds": round(seconds[1], 2),
        "first_bytes": written[1] - written[0], "second_bytes": written[2] - written[1],
    }  # fmt: skip


def _bytes(home: Path) -> int:
    """Return what the repository and the store hold."""
    return sum(path.stat().st_size for name in ("repository", "store") for path in (home / name).rglob("*")
               if path.is_file())  # fmt: skip


def main(mebibytes: int) -> None:
    """Measure, and print the result."""
    if shutil.which("restic") is None:
        raise SystemExit("the program restic is missing; on Debian: apt-get install restic")
    with tempfile.TemporaryDirectory(prefix="airlock-bench-") as home:
        print(json.dumps(measured(Path(home), mebibytes)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
