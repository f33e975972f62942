"""Errors as statuses and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro import errors
from micro.proto import errors_pb2, status_pb2
from micro.rpc.driver import Status
from micro.rpc.errors import from_status, to_wire


def test_an_error_is_json_a_code_and_a_detail_in_this_order():
    code, message, details = to_wire(errors.InvalidArgument("Secret not correct"), "auth.Auth.Token")
    assert code == 3
    assert message == '{"id":"auth.Auth.Token","code":400,"detail":"Secret not correct","status":"Bad Request"}'
    status = status_pb2.Status.FromString(details)
    assert (status.code, status.message) == (3, message)
    assert status.details[0].type_url == "type.googleapis.com/errors.Error"
    assert errors_pb2.Error.FromString(status.details[0].value) == errors_pb2.Error(
        id="auth.Auth.Token", code=400, detail="Secret not correct", status="Bad Request"
    )


@pytest.mark.parametrize("cls", errors.BY_CODE.values(), ids=lambda cls: cls.__name__)
def test_every_class_comes_back_as_itself(cls):
    code, message, details = to_wire(cls("why"), "orders")
    back = from_status(Status(code, message, details=details))
    assert (type(back), back.detail, back.id) == (cls, "why", "orders")


def test_an_id_that_is_there_stays():
    _, message, _ = to_wire(errors.NotFound("x", id="deeper"), "orders")
    assert json.loads(message)["id"] == "deeper"


@given(st.text(max_size=4000))
def test_any_text_crosses_and_the_trailers_stay_small(text):
    code, message, details = to_wire(errors.Aborted(text), "orders")
    assert len(details) * 4 // 3 <= 8192
    back = from_status(Status(code, message))
    assert back.detail == errors.clip(text).encode("utf-8", "replace").decode()


@given(st.text())
def test_no_message_of_a_stranger_breaks_the_reading(text):
    for message in (text, "{" + text, '{"code": ' + text):
        assert isinstance(from_status(Status(2, message)), errors.ServiceError)


def test_the_innermost_error_counts():
    inner = json.dumps({"Id": "store", "Code": 404, "Detail": "not found"})
    outer = json.dumps({"id": "go.micro.client", "code": 500, "detail": inner})
    back = from_status(Status(13, outer))
    assert (type(back), back.id, back.detail) == (errors.NotFound, "store", "not found")


def test_a_plain_status_is_read_by_its_code_and_an_unknown_number_is_kept():
    assert isinstance(from_status(Status(8, "slow down")), errors.ResourceExhausted)
    back = from_status(Status(2, '{"code": 502, "detail": "bad"}'))
    assert (type(back), back.http) == (errors.Unknown, 502)
