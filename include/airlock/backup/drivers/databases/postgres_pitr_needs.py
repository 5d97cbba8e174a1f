"""What the driver ``postgres_pitr`` needs: programs, and what the role of its connection must be and may do. Knows no
other code of the driver."""

from __future__ import annotations

from airlock.models.needs import CONNECTION, ConnectionNeed, Needs, Permission, Program, Stage, System

_ALL = (Stage.INSPECT, Stage.BACKUP, Stage.PROOF, Stage.RESTORE)
_READ = (Stage.INSPECT, Stage.BACKUP)
_WRITE = (Stage.PROOF, Stage.RESTORE)
_LOCAL = (Stage.RESTORE,)
_VERSION = "of the server's major version"


def _program(name: str, stages: tuple[Stage, ...]) -> Program:
    return Program(name=name, least="17", folder="{programs}", stages=stages, why=_VERSION)


def _postgres(stages: tuple[Stage, ...], action: str, on: str, why: str) -> Permission:
    return Permission(system=System.POSTGRESQL, actions=(action,), on=on, stages=stages, connection=CONNECTION, why=why)


NEEDS = Needs(
    programs=(
        _program("pg_basebackup", (Stage.BACKUP,)),
        _program("pg_receivewal", (Stage.BACKUP,)),
        _program("pg_waldump", (Stage.BACKUP,)),
        _program("pg_dump", _ALL),
        _program("pg_combinebackup", _WRITE),
        _program("pg_verifybackup", _WRITE),
        _program("postgres", _WRITE),
        Program(name="{stop.0}", when="stop", stages=_LOCAL, why="the server is stopped while its files are replaced"),
        Program(name="{start.0}", when="start", stages=_LOCAL, why="the server goes on with the files of the backup"),
    ),
    connections=(ConnectionNeed(sort="PostgreSQL", stages=(*_READ, Stage.RESTORE)),),
    permissions=(
        _postgres(_READ, "connect", "every database", "or those of the option `databases`: their content is compared"),
        _postgres(
            (Stage.BACKUP,),
            "replication",
            "the role",
            "files and log of the server are read by the protocol of "
            "replication, which pg_hba.conf must let in too (database `replication`)",
        ),
        _postgres(
            _READ,
            "read every table",
            "every database",
            "its content is compared with that of the restored "
            "server; a superuser, or a member of pg_read_all_data (which does not read large objects) may, "
            "with BYPASSRLS where tables have row-level security",
        ),
        Permission(
            system=System.FILES,
            actions=("write", "replace"),
            on="{data_directory}",
            when="data_directory",
            stages=_LOCAL,
            why="the way back puts the restored files in its place",
        ),
    ),
    also=(
        "`summarize_wal = on` at the server, else every backup is a full one",
        "where this runs as root, a user of this machine who may run the scratch server (option `run_as`), and who "
        "can reach the scratch folder and the programs",
    ),
)
