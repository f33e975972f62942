from __future__ import annotations

import importlib
import json
import pkgutil

import pytest
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    message_factory,
    struct_pb2,
    text_format,
    timestamp_pb2,
    wrappers_pb2,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import micro.proto
from micro.errors import InvalidArgument
from micro.proto import auth_pb2, events_pb2, registry_pb2, runtime_pb2, store_pb2
from micro.schema import message_of
from micro.schema.proto_json import kind_of, map_entry

FILE = """
name: "every.proto" package: "every" syntax: "proto3"
dependency: "google/protobuf/timestamp.proto" dependency: "google/protobuf/duration.proto"
dependency: "google/protobuf/struct.proto" dependency: "google/protobuf/wrappers.proto"
dependency: "google/protobuf/any.proto" dependency: "google/protobuf/empty.proto" dependency: "google/protobuf/field_mask.proto"
enum_type { name: "Mood" value { name: "CALM" number: 0 } value { name: "CROSS" number: 3 } value { name: "SAD" number: -1 } }
message_type {
  name: "Every"
  field { name: "from" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "from" }
  field { name: "small_one" number: 2 type: TYPE_SINT32 label: LABEL_OPTIONAL json_name: "smallOne" }
  field { name: "wide" number: 3 type: TYPE_FIXED64 label: LABEL_OPTIONAL json_name: "wide" }
  field { name: "real" number: 4 type: TYPE_DOUBLE label: LABEL_OPTIONAL json_name: "real" }
  field { name: "short" number: 5 type: TYPE_FLOAT label: LABEL_OPTIONAL json_name: "short" }
  field { name: "yes" number: 6 type: TYPE_BOOL label: LABEL_OPTIONAL json_name: "yes" }
  field { name: "raw" number: 7 type: TYPE_BYTES label: LABEL_OPTIONAL json_name: "raw" }
  field { name: "mood" number: 8 type: TYPE_ENUM type_name: ".every.Mood" label: LABEL_OPTIONAL json_name: "mood" }
  field { name: "inner" number: 9 type: TYPE_MESSAGE type_name: ".every.Every" label: LABEL_OPTIONAL json_name: "inner" }
  field { name: "list" number: 10 type: TYPE_INT64 label: LABEL_REPEATED json_name: "list" }
  field { name: "inners" number: 11 type: TYPE_MESSAGE type_name: ".every.Every" label: LABEL_REPEATED json_name: "inners" }
  field { name: "by_flag" number: 12 type: TYPE_MESSAGE type_name: ".every.Every.ByFlagEntry" label: LABEL_REPEATED json_name: "byFlag" }
  field { name: "by_id" number: 13 type: TYPE_MESSAGE type_name: ".every.Every.ByIdEntry" label: LABEL_REPEATED json_name: "byId" }
  field { name: "when" number: 14 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL json_name: "when" }
  field { name: "span" number: 15 type: TYPE_MESSAGE type_name: ".google.protobuf.Duration" label: LABEL_OPTIONAL json_name: "span" }
  field { name: "struct" number: 16 type: TYPE_MESSAGE type_name: ".google.protobuf.Struct" label: LABEL_OPTIONAL json_name: "struct" }
  field { name: "value" number: 17 type: TYPE_MESSAGE type_name: ".google.protobuf.Value" label: LABEL_OPTIONAL json_name: "value" }
  field { name: "values" number: 18 type: TYPE_MESSAGE type_name: ".google.protobuf.ListValue" label: LABEL_OPTIONAL json_name: "values" }
  field { name: "count" number: 19 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" label: LABEL_OPTIONAL json_name: "count" }
  field { name: "ratio" number: 20 type: TYPE_MESSAGE type_name: ".google.protobuf.FloatValue" label: LABEL_OPTIONAL json_name: "ratio" }
  field { name: "any" number: 21 type: TYPE_MESSAGE type_name: ".google.protobuf.Any" label: LABEL_OPTIONAL json_name: "any" }
  field { name: "nothing" number: 22 type: TYPE_MESSAGE type_name: ".google.protobuf.Empty" label: LABEL_OPTIONAL json_name: "nothing" }
  field { name: "mask" number: 23 type: TYPE_MESSAGE type_name: ".google.protobuf.FieldMask" label: LABEL_OPTIONAL json_name: "mask" }
  field { name: "maybe" number: 24 type: TYPE_INT32 label: LABEL_OPTIONAL json_name: "maybe" proto3_optional: true oneof_index: 1 }
  field { name: "a" number: 25 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "a" oneof_index: 0 }
  field { name: "b" number: 26 type: TYPE_MESSAGE type_name: ".every.Every" label: LABEL_OPTIONAL json_name: "b" oneof_index: 0 }
  field { name: "moods" number: 27 type: TYPE_ENUM type_name: ".every.Mood" label: LABEL_REPEATED json_name: "moods" }
  field { name: "times" number: 28 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_REPEATED json_name: "times" }
  field { name: "added" number: 100 type: TYPE_INT64 label: LABEL_OPTIONAL json_name: "added" }
  field { name: "added_list" number: 101 type: TYPE_STRING label: LABEL_REPEATED json_name: "addedList" }
  field { name: "added_inner" number: 102 type: TYPE_MESSAGE type_name: ".every.Every" label: LABEL_OPTIONAL json_name: "addedInner" }
  nested_type { name: "ByFlagEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_BOOL label: LABEL_OPTIONAL } field { name: "value" number: 2 type: TYPE_DOUBLE label: LABEL_OPTIONAL } }
  nested_type { name: "ByIdEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_UINT64 label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".every.Every" label: LABEL_OPTIONAL } }
  oneof_decl { name: "either" } oneof_decl { name: "_maybe" }
}
"""


def _every():
    pool = descriptor_pool.DescriptorPool()
    for module in (timestamp_pb2, duration_pb2, struct_pb2, wrappers_pb2, any_pb2, empty_pb2, field_mask_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(text_format.Parse(FILE, descriptor_pb2.FileDescriptorProto()).SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("every.Every"))


Every = _every()
kind = message_of(Every)
EMPTY = {
    "from": "", "small_one": 0, "wide": "0", "real": 0.0, "short": 0.0, "yes": False, "raw": "", "mood": "CALM", "inner": None,
    "list": [], "inners": [], "by_flag": {}, "by_id": {}, "when": None, "span": None, "struct": None, "value": None,
    "values": None, "count": None, "ratio": None, "any": None, "nothing": None, "mask": None, "moods": [], "times": [],
    "added": "0", "added_list": [], "added_inner": None,
}  # fmt: skip


def test_all_fields_are_present_but_unset_oneofs_and_optionals():
    assert json.loads(kind.to_json(Every())) == EMPTY


def test_an_answer_of_the_store_is_what_the_go_server_sends():
    answer = store_pb2.ReadResponse(records=[store_pb2.Record(key="k", value=b"\xff\xfe", expiry=2**62)])
    assert message_of(store_pb2.ReadResponse).to_json(answer) == (
        b'{"records":[{"key":"k","value":"//4=","expiry":"4611686018427387904","metadata":{}}]}'
    )
    rule = auth_pb2.Rule(id="r", access=auth_pb2.GRANTED, priority=-3)
    assert json.loads(message_of(auth_pb2.Rule).to_json(rule)) == {
        "id": "r", "scope": "", "resource": None, "access": "GRANTED", "priority": -3,
    }  # fmt: skip


def test_additions_to_the_originals_messages_are_left_out_while_unset():
    assert message_of(events_pb2.PublishResponse).to_json(events_pb2.PublishResponse()) == b"{}"
    assert message_of(events_pb2.PublishResponse).to_json(events_pb2.PublishResponse(sequence=3)) == b'{"sequence":"3"}'


def test_a_full_message_has_every_form():
    message = Every(
        small_one=-1, wide=2**64 - 1, real=0.1, short=0.1, yes=True, raw=b"\x00", mood=3, list=[-(2**63)], maybe=0, a=""
    )
    setattr(message, "from", "here")
    message.inner.mood = 77
    message.by_flag[True] = float("nan")
    message.by_id[2**64 - 1].a = "x"
    message.when.FromJsonString("2026-01-02T03:04:05.5Z")
    message.span.FromJsonString("-1.5s")
    message.struct["k"] = [1, None]
    message.value.number_value = 2
    message.values.extend(["a"])
    message.count.value = 5
    message.ratio.value = 0.2
    message.any.Pack(duration_pb2.Duration(seconds=1))
    message.nothing.SetInParent()
    message.mask.FromJsonString("a,b")
    message.moods.extend([-1, 9])
    message.added, message.added_inner.real = 7, float("-inf")
    shown = json.loads(kind.to_json(message))
    inner = {**EMPTY, "mood": 77}
    assert shown == {
        **EMPTY, "from": "here", "small_one": -1, "wide": str(2**64 - 1), "real": 0.1, "short": 0.1, "yes": True, "raw": "AA==",
        "mood": "CROSS", "inner": inner, "list": [str(-(2**63))], "by_flag": {"true": "NaN"},
        "by_id": {str(2**64 - 1): {**EMPTY, "a": "x"}}, "when": "2026-01-02T03:04:05.500Z", "span": "-1.500s",
        "struct": {"k": [1, None]}, "value": 2, "values": ["a"], "count": "5", "ratio": 0.2,
        "any": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"}, "nothing": {}, "mask": "a,b",
        "moods": ["SAD", 9], "maybe": 0, "a": "", "added": "7", "added_inner": {**EMPTY, "real": "-Infinity"},
    }  # fmt: skip
    again = kind.from_json(json.dumps(shown))
    assert json.loads(kind.to_json(again)) == shown


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (
            {"smallOne": "5", "wide": 5, "real": "1.5", "yes": "true"},
            {"small_one": 5, "wide": "5", "real": 1.5, "yes": True},
        ),
        ({"small_one": 1e3, "unknown": [{}], "inner": {"unknown": 1}}, {"small_one": 1000, "inner": EMPTY}),
        ({"mood": "SAD", "moods": [3, "3", "CALM"]}, {"mood": "SAD", "moods": ["CROSS", "CROSS", "CALM"]}),
        ({"inner": None, "list": None, "byFlag": None, "from": None, "a": None}, {}),
        ({"raw": "_w"}, {"raw": "/w=="}),
        ({"span": 1.5, "when": "2026-01-02T03:04:05+01:00"}, {"span": "1.500s", "when": "2026-01-02T02:04:05Z"}),
    ],
)
def test_json_is_read_leniently(body, changed):
    assert json.loads(kind.to_json(kind.from_json(json.dumps(body)))) == {**EMPTY, **changed}


@pytest.mark.parametrize("body", [b"", b"null", b"{}"])
def test_nothing_is_the_empty_message(body):
    assert kind.from_json(body) == Every()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"from": 5}, "from: expected str, got int"),
        ({"small_one": 2**31}, "small_one: out of range for sint32: -2147483648 to 2147483647"),
        ({"mood": "HAPPY"}, "mood: no such Mood; one of CALM, CROSS, SAD"),
        ({"mood": True}, "mood: expected a name of Mood, got bool"),
        ({"moods": ["CALM", {}]}, "moods[1]: expected a name of Mood, got dict"),
        ({"inner": {"inners": [{}, {"list": ["x"]}]}}, "inner.inners[1].list[0]: expected int, got str"),
        ({"inner": 5}, "inner: expected Every, got int"),
        ({"by_id": {"x": {}}}, "by_id['x']: expected int, got str"),
        ({"by_id": {"1": {"yes": 1}}}, "by_id['1'].yes: expected bool, got int"),
        ({"a": "", "b": {}}, "b: only one of a, b may be there"),
        ({"when": 5}, "when: expected a time like 2026-01-31T12:00:00Z, got int"),
        ({"when": "soon"}, "when: not a time like 2026-01-31T12:00:00Z"),
        ({"values": {}}, "values: expected list, got dict"),
        ({"count": []}, "count: expected int, got list"),
        ({"list": 3}, "list: expected list, got int"),
        ({"by_flag": []}, "by_flag: expected dict, got list"),
    ],
)
def test_the_field_that_does_not_fit_is_named(body, message):
    with pytest.raises(InvalidArgument) as caught:
        kind.from_json(json.dumps(body))
    assert str(caught.value) == message


def _core_messages():
    for module in pkgutil.iter_modules(micro.proto.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"micro.proto.{module.name}").DESCRIPTOR
            yield from (message_factory.GetMessageClass(each) for each in file.message_types_by_name.values())


CORE = list(_core_messages())
_EDGES = {
    "string": ["", "a", "é%"], "bytes": [b"", b"\xff\x00"], "bool": [False, True], "double": [0.0, 1.5, -2e300], "float": [0.0, 0.1, 3e38],
    "enum": [0, 1], **{kind: [0, 1, -1, 2**31 - 1, -(2**31)] for kind in ("int32", "sint32", "sfixed32")},
    **{kind: [0, 1, -1, 2**63 - 1] for kind in ("int64", "sint64", "sfixed64")},
    **{kind: [0, 1, 2**32 - 1] for kind in ("uint32", "fixed32")}, **{kind: [0, 1, 2**64 - 1] for kind in ("uint64", "fixed64")},
}  # fmt: skip


def _fill(message, draw, depth=0):
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()) or (depth > 2 and field.message_type is not None):
            continue
        entry = map_entry(field)
        if entry is not None:
            key, value = draw(st.sampled_from(_EDGES[kind_of(entry[0])])), entry[1]
            target = getattr(message, field.name)
            if value.message_type is not None:
                _fill(target[key], draw, depth + 1)
            else:
                target[key] = draw(st.sampled_from(_EDGES[kind_of(value)]))
        elif field.message_type is not None:
            inner = getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)
            inner.SetInParent()
            _fill(inner, draw, depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(st.sampled_from(_EDGES[kind_of(field)]), max_size=3)))
        else:
            setattr(message, field.name, draw(st.sampled_from(_EDGES[kind_of(field)])))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CORE), st.data())
def test_every_core_message_goes_and_comes_back_and_protobufs_own_reader_agrees(cls, data):
    message = cls()
    _fill(message, data.draw)
    core = message_of(cls)
    shown = core.to_json(message)
    assert core.from_json(shown) == message
    assert core.from_proto(core.to_proto(message)) == message
    assert json_format.Parse(shown, cls()) == message
    theirs = json_format.MessageToJson(message)  # lowerCamelCase, without defaults: what a Go client may send
    assert core.from_json(theirs) == message


def test_value_trees_of_core_messages_have_gos_spelling():
    tree = message_of(registry_pb2.Service).value_tree()
    assert (tree.name, tree.type) == ("Service", "Service")
    types = {value.name: value.type for value in tree.values}
    assert types["metadata"] == "map[string]string"
    assert types["endpoints"] == "[]Endpoint"
    record = {v.name: v.type for v in message_of(store_pb2.Record).value_tree().values}
    assert (record["value"], record["expiry"], record["metadata"]) == ("[]uint8", "int64", "map[string]Field")
    request = message_of(runtime_pb2.CreateRequest).value_tree()
    resource = next(value for value in request.values if value.name == "resource")
    assert resource.type == "Resource"
    assert [value.name for value in resource.values][:2] == [f.name for f in runtime_pb2.Resource.DESCRIPTOR.fields][:2]
