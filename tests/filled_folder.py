"""A folder with all that the drivers of folders must bring back, what befalls it, and the forms that it takes on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.contracts.driver_contract import digest_of_folder
from tests.contracts.driver_forms import EDGE_NAMES, Damage, Form, taken_by_a_link


def fill(root: Path) -> Path:
    (root / "Größe 大小" / "leer").mkdir(parents=True)
    (root / "Größe 大小" / "naïve file.txt").write_text("hello")
    (root / "empty").touch()
    (root / "large.bin").write_bytes(os.urandom(3_000_001))
    (root / "script.sh").write_text("#!/bin/sh\n")
    (root / "script.sh").chmod(0o4750)
    (root / "link").symlink_to("large.bin")
    (root / "dangling").symlink_to("/no/such/place")
    (root / ("deep" * 40)).mkdir()
    (root / ("deep" * 40) / ("n" * 200)).write_text("a long name")
    Path(os.fsdecode(os.fsencode(root) + b"/not-utf8-\xff")).write_text("bytes")
    (root / "locked").mkdir()
    (root / "locked" / "inside").write_text("x")
    (root / "locked").chmod(0o555)
    os.utime(root / "empty", ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    return root


ACCESS_LIST = bytes.fromhex("0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000000ffffffff")
"""``u::rw,u:1000:r,g::r,m::r,o::-`` as the kernel keeps it."""


def disturb(root: Path) -> None:
    """Change all that lies around the content, and nothing of it."""
    os.utime(root / "large.bin", ns=(1, 1))
    os.setxattr(root / "script.sh", "user.later", b"x")
    (root / "locked").chmod(0o700)
    root.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(root, 33, 33)
        os.chown(root / "link", 33, 33, follow_symlinks=False)


def odd_attributes(root: Path) -> None:
    (root / "acl").write_text("for one more")
    os.setxattr(root / "acl", "system.posix_acl_access", ACCESS_LIST)
    os.setxattr(root / "Größe 大小", "system.posix_acl_default", ACCESS_LIST)
    os.setxattr(root / "empty", "user.bytes", bytes(range(256)))
    os.setxattr(root, "user.note", b"of the folder itself")
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o3777)
    (root / "nobody reads it").write_text("x")
    (root / "nobody reads it").chmod(0)
    (root / "Größe 大小" / "second name").hardlink_to(root / "script.sh")
    os.utime(root / "script.sh", ns=(-1_500_000_001, -1_500_000_001))
    os.utime(root / "link", ns=(7, 1_000_000_007), follow_symlinks=False)
    sparse(root / "sparse", 10_000_000)
    if os.geteuid() == 0:
        os.chown(root, 33, 34)
        os.chown(root / "dangling", 12, 13, follow_symlinks=False)
        os.chown(root / "empty", 3_000_000, 3_000_001)
        os.setxattr(root / "acl", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.utime(root, ns=(5, 1_700_000_000_000_000_001))


def edge_names(root: Path, *, odd_link: bool = True) -> None:
    for number, name in enumerate(EDGE_NAMES):
        (root / name).write_text(str(number))
        (root / f"folder {number}").mkdir()
        (root / f"folder {number}" / name).symlink_to(name)
    if odd_link:
        Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe link")).symlink_to(os.fsdecode(b"\xff//target/."))


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(size)
        file.write(b"end")


def deep(root: Path, levels: int) -> None:
    before = Path.cwd()
    try:
        os.chdir(root)
        for _ in range(levels):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(before)


def damages(root: Path) -> dict[str, Damage | str]:
    """Say how each sort of damage is done to the filled folder *root*."""
    return {
        "changed": Damage(lambda: (root / "empty").write_text("not any more")),
        "emptied": Damage(lambda: [shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()
                                   for one in root.iterdir()]),
        "added": Damage(lambda: (root / "Größe 大小" / "leer" / "later").write_text("x")),
        "settings": Damage(lambda: disturb(root)),
        "gone": Damage(lambda: shutil.rmtree(root)),
        "taken": Damage(lambda: [shutil.rmtree(root / "Größe 大小"), (root / "Größe 大小").write_text("x"),
                                 (root / "large.bin").unlink(), (root / "large.bin").mkdir()]),
        "linked": taken_by_a_link(root, lambda: digest_of_folder(root)),
    }  # fmt: skip


def forms(root: Path) -> dict[str, Form | str]:
    """Say how the filled folder *root* is given each form."""
    return {
        "text that is not UTF-8": Form(lambda: (root / "latin").write_bytes(b"caf\xe9")),
        "names at the edges": Form(lambda: edge_names(root)),
        "modes and owners": Form(lambda: odd_attributes(root)),
        "disappears while it is read": Form(during=(root / "script.sh").unlink),
        "grows while it is read": Form(during=lambda: grow(root / "large.bin")),
        "empty": Form(lambda: [shutil.rmtree(root), root.mkdir()]),
        "huge": Form(lambda: sparse(root / "huge", 64 << 20)),
        "deeply nested": Form(lambda: deep(root, 200)),
    }
