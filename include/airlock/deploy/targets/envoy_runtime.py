"""The weights of one traffic split in Envoy's runtime, through its admin address. Knows no version."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from airlock.errors import PermanentError, TemporaryError
from airlock.fetch import fetch, fetch_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """One traffic split: *admin* is Envoy's admin address, *keys* has the runtime key of every slot."""

    admin: str
    keys: Mapping[str, str]

    def read(self) -> dict[str, int]:
        """Slot -> weight, 0 to 100.

        :raises TemporaryError: Envoy does not answer
        :raises PermanentError: a key has no value, so the split does not follow the slots' stable link
        """
        held = fetch_json(self.admin, "/runtime?format=json").get("entries", {})
        weights = {}
        for name, key in self.keys.items():
            value = str(held.get(key, {}).get("final_value", ""))
            if not (value.isascii() and value.isdigit()):
                raise PermanentError(
                    f"Envoy at {self.admin} has {value or 'no value'!r} as weight {key}: its bootstrap needs a "
                    "disk layer on the slots' stable link"
                )
            weights[name] = int(value)
        return weights

    def write(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Set the weights, those not *wanted* to 0, unless they are so; return what was asked for.

        :raises TemporaryError: Envoy does not answer, or refuses
        """
        full = {name: wanted.get(name, 0) for name in self.keys}
        before = self.read()
        if before != full:
            # One request, so that Envoy never splits by half of a change.
            pairs = "&".join(f"{quote(self.keys[name])}={weight}" for name, weight in full.items())
            reply = fetch(self.admin, f"/runtime_modify?{pairs}", method="POST")
            if reply.status != 200:
                raise TemporaryError(f"Envoy at {self.admin} refuses new weights with status {reply.status}")
            logger.info("Envoy %s: weights %s -> %s", self.admin, before, full)
        return full
