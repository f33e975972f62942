"""What core services demand of the caller, by the wire's own terms: acct, mem(ns), adm(ns)."""

from __future__ import annotations

from micro.context import Account, current
from micro.errors import PermissionDenied, Unauthenticated


def account() -> Account:
    """acct: a valid token, else 401."""
    who = current().account
    if who is None:
        raise Unauthenticated("an account is required")
    return who


def member(namespace: str) -> Account:
    """mem(ns): of this namespace, or of the platform."""
    who = account()
    if who.is_platform:
        return who
    if who.issuer != namespace or who.type not in {"user", "service"}:
        raise PermissionDenied("access denied to namespace")
    return who


def admin(namespace: str) -> Account:
    """adm(ns): a member who administers."""
    who = member(namespace)
    if not who.is_admin:
        raise Unauthenticated("Unauthorized")
    return who
