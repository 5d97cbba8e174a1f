"""What the driver ``postgres`` needs: programs, and what the role of its connection must be and may do. Knows no other
code of the driver."""

from __future__ import annotations

from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Program, Stage, System

_ALL = (Stage.INSPECT, Stage.BACKUP, Stage.PROOF, Stage.RESTORE)
_READ = (Stage.INSPECT, Stage.BACKUP)
_WRITE = (Stage.PROOF, Stage.RESTORE)
_VERSION = "of the server's major version or newer"


def _postgres(stages: tuple[Stage, ...], action: str, on: str, why: str = "") -> Permission:
    return Permission(system=System.POSTGRESQL, actions=(action,), on=on, stages=stages, connection=CONNECTION,
                      why=why)


NEEDS = Needs(
    programs=(
        Program(name="pg_dump", least="13", folder="{programs}", stages=(Stage.BACKUP,), why=_VERSION),
        Program(name="pg_dumpall", least="13", folder="{programs}", stages=(Stage.BACKUP,), why=_VERSION),
        Program(name="pg_restore", least="13", folder="{programs}", stages=_WRITE, why=_VERSION),
        Program(name="psql", least="13", folder="{programs}", stages=_WRITE, why=_VERSION),
    ),
    connections=(ConnectionNeed(sort="PostgreSQL", stages=_ALL),),
    permissions=(
        _postgres(_ALL, "connect", "{database}"),
        _postgres(_ALL, "connect", "postgres", "a database cannot be renamed or dropped from within: the session "
                  "beside it is in the database postgres"),
        _postgres(_READ, "read every table", "{database}", "a dump holds all of it; the owner of all of it, a "
                  "superuser, or a member of pg_read_all_data (which does not read large objects) may"),
        _postgres(_WRITE, "createdb", "the role", "the restore test has a database of its own, and so has the way back "
                  "until it takes the origin's place"),
        _postgres(_WRITE, "be every owner", "{database}", "what is restored gets its owner back: the role is a "
                  "superuser, or a member of each owner"),
        _postgres((Stage.RESTORE,), "own", "{database}", "the origin is renamed and dropped"),
        _postgres((Stage.RESTORE,), "end sessions", "{database}", "a superuser, or a member of pg_signal_backend and "
                  "of no session's superuser"),
    ),
    also=("a superuser where the database holds extensions that only one may make, or subscriptions",),
)  # fmt: skip
