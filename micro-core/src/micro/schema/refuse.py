"""What a plan as a whole may not be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from micro.schema.enums import EnumPlan, camel
from micro.schema.extras import SchemaError

if TYPE_CHECKING:
    from micro.schema.plan import MessagePlan


def refuse_endless(plan: MessagePlan, root: MessagePlan, path: tuple[str, ...]) -> None:
    """Refuse a class that must hold itself: no value of it could be made."""
    for one in plan.fields:
        inner = one.shape.message if one.shape is not None and one.card == "one" else None
        if inner is None or one.nullable or one.has_default:
            continue
        if inner is root:
            raise SchemaError(
                f"{plan.name}.{one.name}: {root.name} would hold itself without end; use {root.name} | None"
            )
        if inner.name not in path:
            refuse_endless(inner, root, (*path, inner.name))


def refuse_twins(plan: MessagePlan) -> None:
    messages, enums = plan.closure()
    seen: dict[str, type] = {}
    named: list[MessagePlan | EnumPlan] = [*messages, *enums]
    for each in named:
        if seen.setdefault(each.name, each.python) is not each.python:
            raise SchemaError(
                f"{plan.name}: two classes are named {each.name}, in {seen[each.name].__module__} and "
                f"{each.python.__module__}; rename one"
            )


def refuse_alike(plan: MessagePlan) -> None:
    """Refuse two names that are one in lowerCamelCase, which JSON may use for either."""
    seen: dict[str, str] = {}
    for name in (name for one in plan.fields for name in ([a.name for a in one.arms] or [one.name])):
        other = seen.setdefault(camel(name), name)
        if other is not name:
            raise SchemaError(f"{plan.name}: {other!r} and {name!r} are one name in JSON; rename one")
