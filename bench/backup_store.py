"""Measure the backup store: 1 GiB through it, against the same two libraries called directly. Prints one line of JSON.

    PYTHONPATH=include python bench/backup_store.py [MEBIBYTES]

``peak_mib`` is the growth of the resident memory of a process that only streams through the store. The data is half
random and half text, and comes from memory, so that the disk below the store is the only one involved.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pyrage
import zstandard
from upath import UPath

from airlock.backup.store import BackupStore

CHUNK = 1 << 20


def data(mebibytes: int) -> Iterator[bytes]:
    """Yield *mebibytes* chunks of 1 MiB, half noise and half rows of text, that repeat only beyond zstd's window."""
    half = CHUNK // 2
    noise = [os.urandom(half) for _ in range(16)]
    rows = [
        "".join(f"{n},{(n * 2654435761 + k) % 2**32:08x},order,{n % 97}.{n % 89:02d},EUR\n" for n in range(half // 24))
        .encode()[:half]
        .ljust(half, b"\n")
        for k in range(16)
    ]
    for number in range(mebibytes):
        yield noise[number % 16] + rows[number % 16]


class Source:
    """A reader over chunks, as zstandard wants it."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, _size: int = -1) -> bytes:
        return next(self._chunks, b"")


def through_store(folder: Path, mebibytes: int) -> float:
    """Return the seconds that the store needs to write."""
    identity = pyrage.x25519.Identity.generate()
    store = BackupStore(UPath(folder / "store"), (str(identity.to_public()),), (str(identity),))
    chunks = data(mebibytes)
    first = next(chunks)  # makes the material before the clock starts
    begun = time.perf_counter()
    store.write("bench", "data", chain([first], chunks))
    return time.perf_counter() - begun


def directly(folder: Path, mebibytes: int) -> float:
    """Return the seconds that zstandard and pyrage need by themselves for the same file, synced to the disk as well."""
    recipient = pyrage.x25519.Identity.generate().to_public()
    chunks = data(mebibytes)
    first = next(chunks)
    begun = time.perf_counter()
    with (folder / "direct.zst.age").open("wb") as file:
        source = zstandard.ZstdCompressor(level=3).stream_reader(Source(chain([first], chunks)), read_size=CHUNK)
        pyrage.encrypt_io(source, file, [recipient])
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - begun


def resident_mib() -> float:
    """Return the highest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(mode: str, mebibytes: int) -> dict[str, float]:
    """Run one mode in this process."""
    with tempfile.TemporaryDirectory(prefix="airlock-bench-") as name:
        before = resident_mib()
        seconds = through_store(Path(name), mebibytes) if mode == "store" else directly(Path(name), mebibytes)
        return {"seconds": seconds, "peak_mib": resident_mib() - before}


def in_child(mode: str, mebibytes: int) -> dict[str, float]:
    """Run one mode in a process of its own, so that memory and caches of one do not blur the other."""
    command = [sys.executable, __file__, str(mebibytes), "--mode", mode]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def main() -> None:
    """Measure three times each, in turn, and print the best of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mebibytes", type=int, nargs="?", default=1024)
    parser.add_argument("--mode", choices=("store", "direct"))
    arguments = parser.parse_args()
    if arguments.mode:
        print(json.dumps(measure(arguments.mode, arguments.mebibytes)))
        return
    rounds = [(in_child("direct", arguments.mebibytes), in_child("store", arguments.mebibytes)) for _ in range(3)]
    baseline = min(direct["seconds"] for direct, _ in rounds)
    seconds = min(store["seconds"] for _, store in rounds)
    print(
        json.dumps(
            {
                "seconds": round(seconds, 3),
                "baseline_seconds": round(baseline, 3),
                "ratio": round(seconds / baseline, 3),
                "peak_mib": round(max(store["peak_mib"] for _, store in rounds), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
