"""What restic says when it fails, of several versions and stores, and what becomes of it."""

from __future__ import annotations

import json

import pytest

from airlock.backup.drivers.storage.restic_errors import Locked, Refusal, failure, too_late, without_secrets
from airlock.errors import AccessRefused, BackupDamaged, PermanentError, TemporaryError

WHERE = "\nIs there a repository at the following location?\ns3:http://127.0.0.1:18633/restic1"
OPEN = "Fatal: unable to open config file: "
SAID = [
    (1, OPEN + "Stat: The request signature we calculated does not match the signature" + WHERE, AccessRefused),
    (1, OPEN + "Stat: The Access Key Id you provided does not exist in our records." + WHERE, AccessRefused),
    (1, OPEN + "Stat: Access Denied." + WHERE, AccessRefused),
    (1, OPEN + "unexpected HTTP response (401): 401 Unauthorized" + WHERE, AccessRefused),
    (1, "Fatal: unable to open repository at b2:x:y: b2_authorize_account: 401: Invalid authorization", AccessRefused),
    (1, OPEN + "googleapi: Error 403: x does not have storage.objects.get access" + WHERE, AccessRefused),
    (1, "Fatal: create: user@host: Permission denied (publickey,password).", AccessRefused),
    (1, OPEN + "Stat: stat /srv/none/config: no such file or directory" + WHERE, PermanentError),
    (10, OPEN + "Stat: The specified bucket does not exist" + WHERE, PermanentError),
    (1, OPEN + "dial tcp 127.0.0.1:9: connect: connection refused" + WHERE, TemporaryError),
    (1, OPEN + "Get \"https://h/\": dial tcp: lookup h: no such host" + WHERE, TemporaryError),
    (1, "Fatal: client.PutObject: SlowDown: Please reduce your request rate.", TemporaryError),
    (1, "Fatal: unable to save snapshot: write /srv/r/data/tmp: no space left on device", PermanentError),
    (1, "Fatal: wrong password or no key found", AccessRefused),
    (12, "Fatal: wrong password or no key found", AccessRefused),
    (1, "Fatal: config cannot be loaded: ciphertext verification failed", BackupDamaged),
    (1, "Fatal: something that nobody knows", PermanentError),
]


@pytest.mark.parametrize("as_message", [False, True])
@pytest.mark.parametrize(("code", "said", "sort"), SAID)
def test_every_reason_is_told_apart_by_words_and_by_messages(
    code: int, said: str, sort: type[Exception], as_message: bool
) -> None:
    text = json.dumps({"message_type": "exit_error", "code": code, "message": said}) if as_message else said
    found = failure(Refusal("storage.uploads", "cat", code, text))
    assert type(found) is sort
    assert str(found).startswith("storage.uploads: ")
    assert "next: " in str(found) or isinstance(found, TemporaryError)


@pytest.mark.parametrize(("said", "sort"), [
    ("Stat(<config/>) returned error, retrying after 1s: Stat: Access Denied.", AccessRefused),
    ("Save(<lock/3313c6aab2>) returned error, retrying: Data byte limit exceeded for this tenant.", PermanentError),
    ("Stat(<config/>) returned error, retrying after 1s: dial tcp: i/o timeout", TemporaryError),
    ("", TemporaryError),
])  # fmt: skip
def test_what_it_tries_for_minutes_is_told_when_its_time_is_over(said: str, sort: type[Exception]) -> None:
    found = too_late(Refusal("storage.uploads", "cat", 0, said), 180)
    assert type(found) is sort
    assert said[-20:] in str(found)


@pytest.mark.parametrize(("age", "stale"), [("9.8s", False), ("20m10.719103776s", False), ("51m32.497788503s", True),
                                            ("41h0m0.5s", True)])  # fmt: skip
@pytest.mark.parametrize("how", [" ", " exclusively "])
def test_a_lock_is_stale_by_its_age_alone(age: str, stale: bool, how: str) -> None:
    said = (f"unable to create lock in backend: repository is already locked{how}by PID 750 on ed0fccab98e5 by root "
            f"(UID 0, GID 0)\nlock was created at 2025-04-24 21:49:40 ({age} ago)\nstorage ID 06ad2f22\n"
            "the `unlock` command can be used to remove stale locks")  # fmt: skip
    found = failure(Refusal("storage.uploads", "forget", 1, said))
    assert type(found) is (PermanentError if stale else Locked)
    assert "PID 750 on ed0fccab98e5 by root" in str(found)


def test_secrets_are_blotted_out_wherever_one_holds_another() -> None:
    secrets = ('long"secret', 'long"secret-more')
    said = without_secrets('rest:http://u:long"secret-more@h/ and long\\"secret-more', secrets)
    assert "secret" not in said
