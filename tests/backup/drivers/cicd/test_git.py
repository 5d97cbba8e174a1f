from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.cicd.git import GitDriver
from airlock.backup.run import prove, restore_origin, take
from airlock.errors import InvalidInput, PermanentError
from airlock.models import Kind, Resource
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest_of_folder, make_store
from tests.contracts.driver_forms import Damage, Form, taken_by_a_link


def run(*arguments: str, folder: Path) -> str:
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Shop"), ("EMAIL", "shop@example.test"))
    }
    environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
    ).stdout


def commit(work: Path, name: str, content: str) -> None:
    (work / name).parent.mkdir(parents=True, exist_ok=True)
    (work / name).write_text(content)
    run("add", "-A", folder=work)
    run("commit", "-qm", f"change {name}", folder=work)
    run("push", "-q", "--all", "origin", folder=work)


def repository(folder: Path) -> tuple[Path, Path]:
    bare, work = folder / "repository.git", folder / "work"
    run("init", "-q", "--bare", "--initial-branch=main", str(bare), folder=folder)
    run("clone", "-q", str(bare), str(work), folder=folder)
    run("checkout", "-q", "-b", "main", folder=work)
    commit(work, ".github/workflows/release.yml", "on: push\n")
    commit(work, "größe.txt", "1\n")
    run("checkout", "-q", "-b", "topic", folder=work)
    commit(work, "topic.txt", "topic\n")
    run("checkout", "-q", "main", folder=work)
    run("tag", "-a", "v1.0", "-m", "version 1.0", folder=work)
    run("push", "-q", "--tags", "origin", folder=work)
    return bare, work


def raw(*arguments: str | bytes, folder: Path, text: bytes = b"") -> str:
    """Run git with bytes that need not be UTF-8; return what it printed."""
    done = subprocess.run(["git", *arguments], cwd=folder, input=text, capture_output=True, check=True)
    return done.stdout.decode().strip()


def odd_objects(bare: Path) -> None:
    """A ref, a file, a message and an author in Latin-1, and a commit whose time zone git calls wrong today."""
    tree, parent = raw("rev-parse", "main^{tree}", folder=bare), raw("rev-parse", "main", folder=bare)
    blob = raw("hash-object", "-w", "--stdin", folder=bare, text=b"caf\xe9")
    entries = raw("ls-tree", "-z", tree, folder=bare).encode() + b"100644 blob " + blob.encode() + b"\tcaf\xe9.yml\0"
    odd = raw("mktree", "-z", folder=bare, text=entries)
    for number, zone in enumerate(("+051800", "-7", "+0100")):
        text = (f"tree {odd}\nparent {parent}\nauthor Ren\xe9 <r@example.test> 1 {zone}\n"
                f"committer Ren\xe9 <r@example.test> 1 {zone}\n\ncaf\xe9\n").encode("latin-1")  # fmt: skip
        name = raw("hash-object", "-t", "commit", "-w", "--literally", "--stdin", folder=bare, text=text)
        raw("update-ref", b"refs/heads/caf\xe9-%d" % number, name, folder=bare)
        raw("replace", name, parent, folder=bare)


def edge_names(bare: Path) -> None:
    names = ("what!", "half#way", "100%", "semi;colon", "'quoted\"", "$HOME", "n" * 200, "caf\u00e9", "cafe\u0301")
    for name in names:
        run("update-ref", f"refs/heads/{name}", "main", folder=bare)
    run("symbolic-ref", "refs/heads/alias", "refs/heads/topic", folder=bare)
    run("update-ref", "refs/notes/commits", "main", folder=bare)
    run("update-ref", "refs/custom/deep/er", "main", folder=bare)


def driver_for(path: Path, store, **options: object) -> GitDriver:
    return GitDriver(
        Resource(name="shop_repo", kind=Kind.CICD, driver="git", options={"path": str(path), **options}), store
    )


class TestGit(DriverContract):
    @pytest.fixture
    def case(self, store, tmp_path: Path) -> Case:
        bare, work = repository(tmp_path)

        def spoil(place: Place) -> None:
            run("update-ref", "refs/heads/main", "refs/heads/topic", folder=Path(place.folder) / "repository.git")

        def bundled(*arguments: str) -> Callable[[bytes], bytes]:
            def bundle(_: bytes) -> bytes:
                run("bundle", "create", "-q", str(tmp_path / "b"), *arguments, folder=bare)
                return (tmp_path / "b").read_bytes()

            return bundle

        def held() -> list[str]:
            """Return all refs, HEAD, and what lies beside them."""
            heads = [run("for-each-ref", folder=bare), run("symbolic-ref", "HEAD", folder=bare)]
            beside = [bare / name for name in ("config", "description", "hooks/post-receive") if (bare / name).exists()]
            return [*heads, *(f"{one.stat().st_mode:o} {one.read_text()}" for one in beside)]

        def refs() -> list[str]:
            return run("for-each-ref", "--format=%(refname)", folder=bare).split()

        def disturb() -> None:
            run("config", "receive.denyDeletes", "true", folder=bare)
            run("symbolic-ref", "HEAD", "refs/heads/topic", folder=bare)
            (bare / "description").write_text("another\n")
            (bare / "hooks" / "post-receive").chmod(0o644)

        (bare / "hooks").mkdir(exist_ok=True)
        (bare / "hooks" / "post-receive").write_text("#!/bin/sh\n")
        (bare / "hooks" / "post-receive").chmod(0o755)
        more = itertools.count()
        return Case(
            driver_for(bare, store),
            change=lambda: commit(work, "more.txt", f"more {next(more)}\n"),
            spoil=spoil,
            origin=lambda: digest_of_folder(bare),
            useless=(
                Useless("a ref", "refs", "repository.bundle", bundled("main", "v1.0")),
                Useless("a history", "git", "repository.bundle", bundled("main~1..main", "topic", "v1.0")),
                Useless("half of it", "git", "repository.bundle", lambda content: content[: len(content) // 2]),
                Useless("no bundle", "git clone", "repository.bundle", lambda _: b"nothing"),
            ),
            restored=held,
            damages={
                "emptied": Damage(lambda: [run("update-ref", "-d", one, folder=bare) for one in refs()]),
                "added": Damage(lambda: run("update-ref", "refs/heads/later/a", "main", folder=bare)),
                "settings": Damage(disturb),
                "gone": Damage(lambda: shutil.rmtree(bare), held),
                "taken": Damage(lambda: [shutil.rmtree(bare), bare.write_text("x")], held),
                "linked": taken_by_a_link(bare, held),
            },
            forms={
                "text that is not UTF-8": Form(lambda: odd_objects(bare)),
                "names at the edges": Form(lambda: edge_names(bare)),
                "modes and owners": "git itself gives objects and refs their modes; those of hooks are in 'settings'",
                "disappears while it is read": Form(during=lambda: run("branch", "-q", "-D", "topic", folder=bare)),
                "grows while it is read": Form(during=lambda: commit(work, "meanwhile.txt", f"{next(more)}\n")),
                "empty": "see test_an_empty_repository_is_refused",
                "huge": Form(lambda: commit(work, "huge.bin", "x" * (32 << 20))),
                "deeply nested": Form(lambda: commit(work, "d/" * 200 + "file", "deep\n")),
            },
        )

    def test_refs_and_pipelines_are_compared(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        assert set(point.facts["refs"]) == {"refs/heads/main", "refs/heads/topic", "refs/tags/v1.0"}
        assert list(point.facts["pipelines"]) == [".github/workflows/release.yml"]
        assert {check.name for check in prove(case.driver, point, place).checks} == {
            "git fsck --full", "head", "refs", "symbolic", "pipelines", "files beside the objects",
        }  # fmt: skip

    def test_a_broken_object_is_found(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        case.driver.restore(point, place)
        pack = next((Path(place.folder) / "repository.git").rglob("*.pack"))
        pack.chmod(0o600)
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 255
        pack.write_bytes(content)
        checks = case.driver.prove(point, place)
        assert [check.name for check in checks if not check.ok] == ["git fsck --full"]

    def test_a_branch_that_came_later_is_gone_after_a_rollback(self, case: Case, tmp_path: Path) -> None:
        point = self.taken(case)
        run("checkout", "-q", "-b", "later", folder=tmp_path / "work")
        commit(tmp_path / "work", "later.txt", "later\n")
        run("symbolic-ref", "HEAD", "refs/heads/topic", folder=tmp_path / "repository.git")
        case.driver.restore(point, Place(origin=True))
        assert all(check.ok for check in case.driver.prove(point, Place(origin=True)))

    def test_hooks_of_the_repository_do_not_run(self, case: Case, tmp_path: Path) -> None:
        point = self.taken(case)
        hook = tmp_path / "repository.git" / "hooks" / "reference-transaction"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
        case.change()
        (tmp_path / "ran").unlink(missing_ok=True)
        case.driver.restore(point, Place(origin=True))
        assert not (tmp_path / "ran").exists()


def test_a_work_tree_can_be_backed_up_but_not_overwritten(tmp_path: Path) -> None:
    _, work = repository(tmp_path)
    driver = driver_for(work, make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    assert prove(driver, point, Place(name="w1", folder=str(tmp_path / "w1"))).ok
    with pytest.raises(PermanentError, match="not bare"):
        driver.restore(point, Place(origin=True))


def test_a_detached_head_comes_back(tmp_path: Path) -> None:
    bare, work = repository(tmp_path)
    run("checkout", "-q", "--detach", "topic", folder=work)
    driver = driver_for(work, make_store(tmp_path / "store"))
    proof = prove(driver, take(driver, "t.1"), Place(name="w1", folder=str(tmp_path / "w1")))
    assert proof.ok, proof.reason
    assert run("rev-parse", "topic", folder=bare).strip() in [check.found for check in proof.checks]


def test_an_empty_repository_is_refused(tmp_path: Path) -> None:
    run("init", "-q", "--bare", "r.git", folder=tmp_path)
    driver = driver_for(tmp_path / "r.git", make_store(tmp_path / "store"))
    assert not driver.inspect().present
    with pytest.raises(InvalidInput, match="no commit"):
        take(driver, "t.1")


def test_missing_pipeline_files_are_named(tmp_path: Path) -> None:
    bare, _ = repository(tmp_path)
    with pytest.raises(InvalidInput, match="Jenkinsfile"):
        take(driver_for(bare, make_store(tmp_path / "store"), pipelines=["Jenkinsfile"]), "t.1")


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(PermanentError, match=r"cicd\.shop_repo: git"):
        take(driver_for(tmp_path / "plain", make_store(tmp_path / "store")), "t.1")
    assert not driver_for(tmp_path / "none", make_store(tmp_path / "store")).inspect().present


def test_an_unborn_head_is_refused_with_what_to_do(tmp_path: Path) -> None:
    bare, _ = repository(tmp_path)
    run("symbolic-ref", "HEAD", "refs/heads/none", folder=bare)
    driver = driver_for(bare, make_store(tmp_path / "store"))
    assert driver.inspect().present
    with pytest.raises(InvalidInput, match=r"git symbolic-ref HEAD refs/heads/NAME"):
        take(driver, "t.1")


def test_a_shallow_clone_is_refused_with_what_to_do(tmp_path: Path) -> None:
    bare, _ = repository(tmp_path)
    run("clone", "-q", "--bare", "--depth=1", f"file://{bare}", str(tmp_path / "shallow.git"), folder=tmp_path)
    with pytest.raises(InvalidInput, match="unshallow"):
        take(driver_for(tmp_path / "shallow.git", make_store(tmp_path / "store")), "t.1")


def test_objects_of_an_alternate_are_in_the_backup(tmp_path: Path) -> None:
    bare, _ = repository(tmp_path)
    run("clone", "-q", "--bare", "--shared", str(bare), str(tmp_path / "shared.git"), folder=tmp_path)
    driver = driver_for(tmp_path / "shared.git", make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    shutil.rmtree(bare)
    proof = prove(driver, point, Place(name="w1", folder=str(tmp_path / "w1")))
    assert proof.ok, proof.reason


def test_content_of_large_files_is_kept_and_what_is_elsewhere_is_said(tmp_path: Path) -> None:
    bare, work = repository(tmp_path)
    for number, letter in enumerate("ab"):
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{letter * 64}\nsize 9\n"
        commit(work, f"big{number}.bin", pointer)
    commit(work, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    there = bare / "lfs" / "objects" / "aa" / "aa" / ("a" * 64)
    there.parent.mkdir(parents=True)
    there.write_text("123456789")
    driver = driver_for(bare, make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    assert point.facts["left_out"] == ["the content of 1 large file(s) (LFS) is not in this repository"]
    proof = prove(driver, point, Place(name="w1", folder=str(tmp_path / "w1")))
    assert proof.ok, proof.reason
    there.unlink()
    restore_origin(driver, point)
    assert there.read_text() == "123456789"


def test_a_repository_with_sha256_objects(tmp_path: Path) -> None:
    run("init", "-q", "--object-format=sha256", "-b", "main", "work", folder=tmp_path)
    (tmp_path / "work" / "Jenkinsfile").write_text("node {}\n")
    run("add", "-A", folder=tmp_path / "work")
    run("commit", "-qm", "first", folder=tmp_path / "work")
    driver = driver_for(tmp_path / "work", make_store(tmp_path / "store"))
    proof = prove(driver, take(driver, "t.1"), Place(name="w1", folder=str(tmp_path / "w1")))
    assert proof.ok, proof.reason
    work = tmp_path / "work"
    bare = tmp_path / "bare.git"
    run("clone", "-q", "--bare", str(work), str(bare), folder=tmp_path)
    driver = driver_for(bare, make_store(tmp_path / "store of the bare one"))
    point, before = take(driver, "t.1"), run("for-each-ref", folder=bare)
    for lost in (lambda: shutil.rmtree(bare), lambda: [shutil.rmtree(bare), bare.mkdir()]):
        lost()
        restore_origin(driver, point)
        assert run("for-each-ref", folder=bare) == before


def test_a_commit_that_only_a_detached_head_reaches_comes_back(tmp_path: Path) -> None:
    bare, work = repository(tmp_path)
    commit(work, "later.txt", "later")
    name = run("rev-parse", "HEAD", folder=work).strip()
    run("update-ref", "--no-deref", "HEAD", name, folder=bare)
    run("update-ref", "refs/heads/main", f"{name}^", folder=bare)
    driver = driver_for(bare, make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    shutil.rmtree(bare)
    restore_origin(driver, point)
    assert run("rev-parse", "HEAD", folder=bare).strip() == name
    assert run("show", "HEAD:later.txt", folder=bare) == "later"


def test_a_partial_clone_is_refused_and_nothing_is_fetched_into_it(tmp_path: Path) -> None:
    bare, _ = repository(tmp_path)
    run("config", "uploadpack.allowFilter", "true", folder=bare)
    partial = tmp_path / "partial.git"
    run("clone", "-q", "--bare", "--filter=blob:none", f"file://{bare}", str(partial), folder=tmp_path)
    before = digest_of_folder(partial)
    with pytest.raises(InvalidInput, match="partial clone.*--refetch"):
        take(driver_for(partial, make_store(tmp_path / "store")), "t.1")
    assert digest_of_folder(partial) == before


def test_a_worktree_and_a_submodule_have_their_settings_elsewhere(tmp_path: Path) -> None:
    bare, work = repository(tmp_path)
    run("worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"), folder=work)
    run("config", "shop.setting", "1", folder=work)
    commit(work, "Jenkinsfile", "node {}\n")
    again = tmp_path / "again"
    run("clone", "-q", str(bare), str(again), folder=tmp_path)
    run("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(bare), "sub", folder=again)
    for number, path in enumerate((tmp_path / "tree", again / "sub")):
        driver = driver_for(path, make_store(tmp_path / f"store{number}"))
        point = take(driver, "t.1")
        assert "config" in point.facts["files"]
        proof = prove(driver, point, Place(name=f"w{number}", folder=str(tmp_path / f"w{number}")))
        assert proof.ok, proof.reason


def test_hooks_that_are_links_and_the_mark_of_a_daemon_come_back(tmp_path: Path) -> None:
    bare, _ = repository(tmp_path)
    (tmp_path / "shared-hook").write_text("#!/bin/sh\n")
    (bare / "hooks" / "post-receive").symlink_to(tmp_path / "shared-hook")
    (bare / "hooks" / "update").symlink_to("/no/such/hook")
    (bare / "git-daemon-export-ok").touch()
    driver = driver_for(bare, make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    proof = prove(driver, point, Place(name="w1", folder=str(tmp_path / "w1")))
    assert proof.ok, proof.reason
    shutil.rmtree(bare)
    restore_origin(driver, point)
    assert (bare / "hooks" / "post-receive").readlink() == tmp_path / "shared-hook"
    assert (bare / "hooks" / "update").readlink() == Path("/no/such/hook")
    assert (bare / "git-daemon-export-ok").exists()


def test_a_long_name_has_room_beside_it(tmp_path: Path) -> None:
    bare, _ = repository(tmp_path)
    long = bare.rename(tmp_path / ("r" * 251 + ".git"))
    driver = driver_for(long, make_store(tmp_path / "store"))
    point, before = take(driver, "t.1"), run("for-each-ref", folder=long)
    run("update-ref", "refs/heads/later", "main", folder=long)
    restore_origin(driver, point)
    assert run("for-each-ref", folder=long) == before


def test_what_git_advises_does_not_hide_what_is_wrong(tmp_path: Path) -> None:
    bare, _ = repository(tmp_path)
    name = run("rev-parse", "main:größe.txt", folder=bare).strip()
    path = bare / "objects" / name[:2] / name[2:]
    path.chmod(0o600)
    path.unlink()
    with pytest.raises(PermanentError, match=name[:12]) as caught:
        take(driver_for(bare, make_store(tmp_path / "store")), "t.1")
    assert "hint:" not in str(caught.value)


def test_large_files_of_another_branch_are_seen(tmp_path: Path) -> None:
    bare, work = repository(tmp_path)
    run("checkout", "-q", "-b", "art", folder=work)
    commit(work, "big.bin", f"version https://git-lfs.github.com/spec/v1\noid sha256:{'c' * 64}\nsize 9\n")
    (work / "art").mkdir()
    commit(work, "art/.gitattributes", "*.bin filter=lfs\n")
    run("push", "-q", str(bare), "art", folder=work)
    point = take(driver_for(bare, make_store(tmp_path / "store")), "t.1")
    assert point.facts["left_out"] == ["the content of 1 large file(s) (LFS) is not in this repository"]


def test_what_lies_beside_the_objects_comes_back_or_is_said(tmp_path: Path) -> None:
    """After reports of backups of GitLab and Gitea without hooks of a server, and of git-annex without content."""
    bare, _ = repository(tmp_path)
    for name in ("annex/objects/x", "svn/.metadata", "custom_hooks/pre-receive", "info/grafts"):
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        (bare / name).write_text("")
    (bare / "branches").mkdir(exist_ok=True)
    driver = driver_for(bare, make_store(tmp_path / "store"))
    said = "beside the objects: annex, svn"
    assert said in driver.plan()["leaves_out"]
    point = take(driver, "t.1")
    assert point.facts["left_out"] == [said]
    (bare / "info" / "grafts").unlink()
    (bare / "custom_hooks" / "pre-receive").write_text("exit 0")
    restore_origin(driver, point)
    assert [(bare / name).read_text() for name in ("info/grafts", "custom_hooks/pre-receive")] == ["", ""]


def test_a_warning_of_git_is_no_answer(tmp_path: Path) -> None:
    """A bare repository with a work tree, as some servers deploy from: git warns at every command."""
    bare, _ = repository(tmp_path)
    run("config", "core.worktree", str(tmp_path / "deployed"), folder=bare)
    driver = driver_for(bare, make_store(tmp_path / "store"))
    proof = prove(driver, take(driver, "t.1"), Place(name="w1", folder=str(tmp_path / "w1")))
    assert proof.ok, proof.reason
