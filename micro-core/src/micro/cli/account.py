"""Whose login this is, and what follows when a secret changes: this machine's `admin.json`, and one's own login."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from micro.cli.session import Session
from micro.context import CORE_NAMESPACE
from micro.errors import MicroError
from micro.proto import auth_pb2 as pb
from micro.service import machine


class AdminFileError(MicroError):
    """A secret has changed, and this machine's file could not follow."""


def claims(token: str) -> dict[str, Any]:
    """Give what a token says."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def change_secret(here: Session, id: str, old: str, new: str, namespace: str) -> None:
    """Change an account's secret, which ends its logins; whoever changes their own stays logged in."""
    who = claims(here.token) if here.token else {}
    request = pb.ChangeSecretRequest(id=id, old_secret=old, new_secret=new, options=pb.Options(namespace=namespace))
    here.core("auth", "Accounts.ChangeSecret", request, pb.ChangeSecretResponse)
    _tell_machine(here, id, new, namespace)
    if (who.get("sub"), who.get("iss")) == (id, namespace):
        here.login(id, new, namespace=namespace)


def _tell_machine(here: Session, id: str, new: str, namespace: str) -> None:
    """Write a new secret to the `admin.json` whose account it is, where that is the server just asked."""
    proxy = machine.local_proxy(here.data)
    known = machine.admin(here.data)
    if proxy != here.address or (known.get("id"), known.get("namespace", CORE_NAMESPACE)) != (id, namespace):
        return
    from pathlib import Path

    from micro.server import folder

    path = Path(here.data) / "admin.json"
    try:
        folder.replace(path, json.dumps(known | {"secret": new}).encode() + b"\n")
        entry = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entry)  # else a power cut could bring the old file back
        finally:
            os.close(entry)
    except OSError as err:
        raise AdminFileError(
            f"The secret of {id} is changed, but {path} still has the old one ({err.strerror}); write the new one there"
        ) from err
