"""AWS: who the connection is, and what IAM says it may; against moto, and a server that answers as STS and IAM do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import aws
from airlock.models.needs import Permission, Stage, System
from sandbox.moto import Moto
from tests.real_servers import aws_connection, moto_server

__all__ = ["moto_server"]
WHO = ("<GetCallerIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><GetCallerIdentityResult><Arn>{}</Arn>"
       "<UserId>X</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>")
SAID = ("<SimulatePrincipalPolicyResponse xmlns='https://iam.amazonaws.com/doc/2010-05-08/'><SimulatePrincipalPolicyResult>"
        "<IsTruncated>false</IsTruncated><EvaluationResults>{}</EvaluationResults></SimulatePrincipalPolicyResult>"
        "</SimulatePrincipalPolicyResponse>")
ONE = "<member><EvalActionName>{}</EvalActionName><EvalDecision>{}</EvalDecision></member>"
DENIED = ("<ErrorResponse xmlns='https://iam.amazonaws.com/doc/2010-05-08/'><Error><Type>Sender</Type><Code>AccessDenied</Code>"
          "<Message>not authorized</Message></Error></ErrorResponse>")
ROLE = ("<GetRoleResponse xmlns='https://iam.amazonaws.com/doc/2010-05-08/'><GetRoleResult><Role><Path>/teams/</Path><RoleName>"
        "airlock</RoleName><RoleId>R</RoleId><Arn>arn:aws:iam::123456789012:role/teams/airlock</Arn><CreateDate>2026-01-01T00:00"
        ":00Z</CreateDate></Role></GetRoleResult></GetRoleResponse>")
USER, SESSION = "arn:aws:iam::123456789012:user/airlock", "arn:aws:sts::123456789012:assumed-role/airlock/session"
SUBJECT = Subject("resources", "security.iam")
PERMISSIONS = (
    Permission(system=System.AWS, actions=("iam:ListRoles", "iam:GetRole"), on="*", stages=(Stage.BACKUP,)),
    Permission(system=System.AWS, actions=("iam:DeleteRole",), on="arn:aws:iam::*:role/x", stages=(Stage.PROOF,)),
)


class Account:
    """Who asks, which actions IAM's simulator denies and how, and what it was asked."""

    def __init__(self, arn: str = USER, denied: dict[str, str] | None = None, *, simulates: bool = True) -> None:
        self.arn, self.denied, self.simulates = arn, denied or {}, simulates
        self.asked: list[dict[str, list[str]]] = []

    def reply(self, form: dict[str, list[str]]) -> tuple[int, str]:
        self.asked.append(form)
        action = form["Action"][0]
        if action == "GetCallerIdentity":
            return 200, WHO.format(self.arn)
        if action == "GetRole":
            return 200, ROLE
        if not self.simulates:
            return 403, DENIED
        names = [values[0] for name, values in form.items() if name.startswith("ActionNames")]
        return 200, SAID.format("".join(ONE.format(name, self.denied.get(name, "allowed")) for name in names))


@contextmanager
def serving(account: Account) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, text = account.reply(parse_qs(body))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def asked(account: Account, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    with serving(account) as url:
        return list(aws.ask(SUBJECT, aws_connection(monkeypatch, url), PERMISSIONS))


def test_what_is_granted_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(Account(), monkeypatch)
    assert {one.gravity for one in found} == {Gravity.FINE}
    assert "3 permissions are granted" in found[-1].what


def test_each_action_that_is_denied_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(Account(denied={"iam:GetRole": "explicitDeny"}), monkeypatch)
    (fault,) = [one for one in found if one.gravity is Gravity.FAULT]
    assert "iam:GetRole is not granted on *" in fault.what
    assert USER in fault.mend


def test_a_no_to_a_pattern_is_a_doubt_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that grants particular resources says no to a pattern."""
    found = asked(Account(denied={"iam:ListRoles": "implicitDeny", "iam:DeleteRole": "implicitDeny"}), monkeypatch)
    assert {one.gravity for one in found if "not granted" in one.what} == {Gravity.WARNING}


def test_a_session_is_asked_for_as_its_role_with_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account(SESSION)
    asked(account, monkeypatch)
    sources = {form["PolicySourceArn"][0] for form in account.asked if "PolicySourceArn" in form}
    assert sources == {"arn:aws:iam::123456789012:role/teams/airlock"}


def test_the_account_is_put_into_arns(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account()
    asked(account, monkeypatch)
    resources = {form["ResourceArns.member.1"][0] for form in account.asked if "ResourceArns.member.1" in form}
    assert resources == {"*", "arn:aws:iam::123456789012:role/x"}


def test_the_root_of_an_account_may_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "may do everything" in asked(Account("arn:aws:iam::123456789012:root"), monkeypatch)[-1].what


def test_who_may_not_ask_the_simulator_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(Account(simulates=False), monkeypatch)
    assert found[-1].gravity is Gravity.NOT_ASKED
    assert "iam:SimulatePrincipalPolicy" in found[-1].why


def test_an_emulator_without_a_simulator_is_not_blamed(moto_server: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(aws.ask(SUBJECT, aws_connection(monkeypatch, moto_server.url), PERMISSIONS))
    assert [one.gravity for one in found if one.gravity is not Gravity.FINE] == [Gravity.NOT_ASKED]
