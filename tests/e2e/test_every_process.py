"""Each of the ten answers health and reflection, to tools that know nothing of us."""

import json

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import micro
from micro.context import CORE_SERVICES
from micro.plugin import discovery
from micro.testing import uses

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("name", CORE_SERVICES)
def test_a_core_service_answers_health_and_reflection(platform, name):
    (service,) = json.loads(platform.micro("get", "service", name, "-o", "json"))
    token = platform.micro("user", "token").strip()
    for node in service["nodes"]:
        with grpc.insecure_channel(node["address"]) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
            reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            answer = next(
                reflection.ServerReflectionInfo(asked, metadata=[("authorization", f"Bearer {token}")], timeout=10)
            )
            names = {each.name for each in answer.list_services_response.service}
            assert "grpc.health.v1.Health" in names
            # the proxy serves nothing of its own but what every process does
            assert name == "proxy" or any(each.startswith(f"{name}.") for each in names)


async def test_a_driver_over_the_wire_is_told_what_the_one_behind_can(platform):
    admin = json.loads((platform.data / "admin.json").read_text())
    able = {}
    async with micro.connect(platform.address("proxy"), id=admin["id"], secret=admin["secret"]) as process:
        for kind in discovery.PRIMITIVES:
            if "remote" in discovery.names(kind):
                driver = discovery.load(kind, "remote")(caller=process.caller)
                await driver.open()
                assert driver.capabilities <= uses.ABILITIES[kind]
                able[kind] = driver.capabilities
    assert len(able) == 9
    assert able["blobs"] - {"urls"} == {
        "conditions",
        "durable",
    }  # two drivers are behind one service; S3 gives addresses
    assert able["store"] == uses.ABILITIES["store"]


def test_the_proxys_door_answers_health_to_anybody_and_reflection_to_accounts(platform):
    with grpc.insecure_channel(platform.address("proxy")) as channel:
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as caught:
            next(reflection.ServerReflectionInfo(iter([asked]), timeout=10))
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
