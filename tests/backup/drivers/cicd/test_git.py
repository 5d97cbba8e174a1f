from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.cicd.git import GitDriver
from airlock.backup.run import prove, take
from airlock.errors import InvalidInput, PermanentError
from airlock.models import Kind, Resource
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest_of_folder, make_store
from tests.contracts.driver_forms import DAMAGES, FORMS


def run(*arguments: str, folder: Path) -> str:
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Shop"), ("EMAIL", "shop@example.test"))
    }
    environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
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
            restored=lambda: run("for-each-ref", folder=bare) + run("symbolic-ref", "HEAD", folder=bare),
            damages=dict.fromkeys(DAMAGES[1:], "not tried yet"),
            forms=dict.fromkeys(FORMS, "not tried yet"),
        )

    def test_refs_and_pipelines_are_compared(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        assert set(point.facts["refs"]) == {"refs/heads/main", "refs/heads/topic", "refs/tags/v1.0"}
        assert list(point.facts["pipelines"]) == [".github/workflows/release.yml"]
        assert {check.name for check in prove(case.driver, point, place).checks} == {
            "git fsck --full", "head", "refs", "pipelines",
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
