"""The description of a dataclass, from its plan."""

from __future__ import annotations

import dataclasses
import inspect

from micro.schema.dataclass_json import writer
from micro.schema.info import FieldInfo, MessageInfo
from micro.schema.mismatch import Mismatch
from micro.schema.plan import ArmPlan, FieldPlan, MessagePlan
from micro.schema.shape import Shape


def info_of(plan: MessagePlan) -> MessageInfo:
    """Describe a plan's message and all it holds."""
    plans, _ = plan.closure()
    made = {id(each): MessageInfo(each.name, doc=inspect.cleandoc(each.doc)) for each in plans}
    for each in plans:
        fields: list[FieldInfo] = []
        for one in each.fields:
            fields += (
                [_arm(one, arm, made) for arm in one.arms] if one.shape is None else [_field(one, one.shape, made)]
            )
        made[id(each)].fields = tuple(fields)
    return made[id(plan)]


def _field(one: FieldPlan, shape: Shape, made: dict[int, MessageInfo]) -> FieldInfo:
    info = _info(one.name, shape, made)
    info.number, info.description = one.number, one.description
    info.repeated = one.card == "list"
    info.key = one.key.kind if one.key is not None else ""
    info.optional = one.optional and shape.message is None and one.card == "one"
    info.required = not one.has_default and not one.nullable
    if one.has_default and one.constant is not dataclasses.MISSING and one.constant is not None and one.card == "one":
        try:
            info.default = writer(shape)(one.constant)
        except Mismatch:
            info.default = None  # a default of another type than its field's: the author's business until it travels
    return info


def _arm(one: FieldPlan, arm: ArmPlan, made: dict[int, MessageInfo]) -> FieldInfo:
    info = _info(arm.name, arm.shape, made)
    info.number, info.description, info.oneof = arm.number, arm.description, one.name
    return info


def _info(name: str, shape: Shape, made: dict[int, MessageInfo]) -> FieldInfo:
    info = FieldInfo(name, shape.kind)
    if shape.enum is not None:
        info.type_name, info.enum = shape.enum.name, tuple(name for name, _ in shape.enum.values)
    if shape.message is not None:
        info.type_name, info.message = shape.message.name, made[id(shape.message)]
    return info
