"""The file of trusted keys holds what the sandbox's connection trusts, also after the key was changed."""

import json
from pathlib import Path

from airlock.commands.evidence import _public_keys
from airlock.signing import Signer, generate_pem, key_id
from sandbox import environment_file, trusted_keys
from sandbox.chaos import keys
from sandbox.layout import Layout


def test_the_present_and_every_former_key_are_in_the_file(tmp_path: Path) -> None:
    layout = Layout(repository=tmp_path, home=tmp_path / "home", port_base=20000)
    layout.sandbox.mkdir(parents=True)
    first = Signer.from_pem(pem := generate_pem())
    extra = {"trusted": [], "public_key_file": str(layout.trusted_keys)}
    environment_file.keep(layout, {trusted_keys.CONNECTION: json.dumps({"password": pem, "extra": extra})})
    trusted_keys.write(layout)
    assert [key_id(one) for one in _public_keys(layout.trusted_keys)] == [first.key_id]
    second = keys.rotate(layout)
    assert [key_id(one) for one in _public_keys(layout.trusted_keys)] == [second, first.key_id]
