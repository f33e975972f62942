"""What is wanted, as the store keeps it."""

from __future__ import annotations

import json
from typing import NamedTuple

import msgspec

from micro.errors import FailedPrecondition
from micro.runtime.driver import Limits, Spec

WANTED = "service:"
SCHEMA = 1  # of a record


class Wanted(NamedTuple):
    """A service that is to run.

    `digest` names its source, which stays as it was when the service was accepted, whatever is uploaded under its name
    later. `round` is that of its instances: those of another are of an update that was not done when the runtime ended.
    `failed` is why the last update left it as it was; empty when none did.
    """

    namespace: str
    spec: Spec
    digest: str = ""
    round: int = -1  # -1: it was written before rounds were
    failed: str = ""

    def dump(self) -> bytes:
        """Write the record."""
        facts = {"namespace": self.namespace, "schema": SCHEMA, "spec": self.spec}
        return msgspec.json.encode({**facts, "digest": self.digest, "round": self.round, "failed": self.failed})


def key_of(namespace: str, spec: Spec) -> str:
    """Give a record's key."""
    return f"{WANTED}{namespace}:{spec.name}:{spec.version}"


def load(raw: bytes) -> Wanted:
    """Read a record; FailedPrecondition for one of a later version of micro."""
    record = json.loads(raw)
    if record.get("schema", 0) > SCHEMA:
        raise FailedPrecondition(
            f"a wanted service has schema {record['schema']}, this version of micro reads up to {SCHEMA}"
        )
    fields = dict(record["spec"])
    spec = Spec(**fields | {"limits": Limits(**fields["limits"])})
    of_it = record.get("digest", ""), record.get("round", -1), record.get("failed", "")
    return Wanted(record["namespace"], spec, *of_it)
