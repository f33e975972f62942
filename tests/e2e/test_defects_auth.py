"""What the platform's forerunner got wrong about identity, rules and secrets, by its numbers: the same action, a safe outcome."""

import base64
import hmac
import http.client
import json
import re

import pytest
from cryptography.hazmat.primitives import serialization as pem

import micro
from micro.auth.tokens import claims, encode, generate_key, load_keys, sign
from micro.config import Config
from micro.config.remote import RemoteConfig
from micro.errors import DataLoss, PermissionDenied, Unauthenticated
from micro.proto import auth_pb2, debug_pb2
from micro.testing.platform import until

pytestmark = pytest.mark.e2e
WHO = """
from micro import Service, current


class Who:
    async def call(self) -> dict:
        here = current()
        return {
            "account": here.account and here.account.id,
            "caller": here.caller and here.caller.id,
            "namespace": here.namespace,
            "metadata": sorted(here.metadata),
        }


Service("who", handlers=[Who()]).run()
"""


@pytest.fixture
def admin(platform):
    return json.loads((platform.data / "admin.json").read_text())


@pytest.fixture
async def as_admin(platform, admin):
    async with micro.connect(platform.address("proxy"), id=admin["id"], secret=admin["secret"]) as process:
        yield process


def run_who(platform, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "main.py").write_text(WHO)
    platform.run(folder)


def get(platform, path, **headers):
    """Ask the gateway; gives status and body."""
    connection = http.client.HTTPConnection(platform.address("api"), timeout=20)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def tokens_that_are_none(key):
    """Give tokens that are good but for one thing, by what that is."""
    said, other = claims("admin", scopes=("admin",)), generate_key()
    good = sign(said, key)
    head, body, tail = good.split(".")

    def headed(signature="", **header):
        made = {"alg": "RS256", "typ": "JWT", "kid": key.kid} | header
        return f"{encode(json.dumps(made).encode())}.{body}.{signature}"

    def saying(**changed):
        return sign({name: value for name, value in (said | changed).items() if value is not None}, key)

    public = key.private.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    symmetric = headed(alg="HS256").rstrip(".")
    forged = type(key)(key.kid, other.private)
    return {
        "no algorithm": headed(alg="none"),
        "no algorithm, signed": headed(tail, alg="none"),
        "signed with the public key": f"{symmetric}.{encode(hmac.digest(public, symmetric.encode(), 'sha256'))}",
        "another algorithm": headed(tail, alg="RS512"),
        "a key from elsewhere": headed(tail, jku="http://127.0.0.1:1/keys"),
        "a key that is a file": headed(tail, kid="../../dev/null"),
        "signed by somebody else under our key's name": sign(said, forged),
        "signed by somebody else": sign(said, other),
        "no signature": f"{head}.{body}.",
        "another's signature": f"{head}.{body}.{saying(sub='ann').split('.')[2]}",
        "changed after it was signed": f"{head}.{encode(json.dumps(said | {'sub': 'root'}).encode())}.{tail}",
        "ended": saying(iat=said["iat"] - 900, exp=said["iat"] - 61),
        "of the future": saying(nbf=said["iat"] + 120),
        "without an end": saying(exp=None),
        "good for a year": saying(exp=said["exp"] + 365 * 86_400),
        "without a beginning": saying(nbf=None),
        "without an id": saying(jti=None),
        "without an audience": saying(aud=None),
        "for somebody else": saying(aud="services"),
        "without an issuer": saying(iss=None),
        "a refresh token": saying(use="renew"),
        "a service's secret": saying(use="secret"),
        "of no kind": saying(use=None),
        "two in one": f"{good} {good}",
        "five pieces": f"{good}.{body}.{tail}",
        "empty": "",
    }


async def test_d5_nothing_but_a_token_of_ours_is_one_at_any_door(platform):
    (key, *_) = load_keys(platform.data / "keys")
    doors = {name: platform.address(name) for name in ("proxy", "store", "auth")}

    async def accepted(token):
        found = []
        for name, address in doors.items():
            async with micro.connect(address, token=token) as process:
                try:
                    await process.caller.call(
                        "store" if name == "proxy" else name, "Debug.Info", debug_pb2.InfoRequest(),
                        debug_pb2.InfoResponse, address=address,
                    )  # fmt: skip
                    found.append(name)
                except Unauthenticated:
                    pass
        if get(platform, "/store/Store/Tables", Authorization=f"Bearer {token}")[0] != 401:
            found.append("api")
        return found

    assert await accepted(sign(claims("admin", scopes=("admin",)), key)) == ["proxy", "store", "auth", "api"]
    assert {what: found for what, bad in tokens_that_are_none(key).items() if (found := await accepted(bad))} == {}


async def test_d6_who_says_for_whom_he_calls_is_not_believed(platform, admin, as_admin, tmp_path):
    run_who(platform, tmp_path, "who")
    held = auth_pb2.TokenRequest(id=admin["id"], secret=admin["secret"], options=auth_pb2.Options(namespace="micro"))
    token = (await as_admin.caller.call("auth", "Auth.Token", held, auth_pb2.TokenResponse)).token.access_token
    try:
        status, body = get(platform, "/who", Micro_On_Behalf_Of=f"Bearer {token}", Micro_Account="admin")
        assert status == 200
        said = json.loads(body)
        assert (said["account"], said["caller"], said["namespace"]) == (None, None, "micro")
        assert "micro-on-behalf-of" not in said["metadata"]
        async with micro.connect(platform.address("proxy")) as nobody:
            said = await nobody.caller.call(
                "who", "Who.Call", {}, dict, metadata={"micro-on-behalf-of": f"Bearer {token}"}
            )
            assert (said["account"], said["caller"]) == (None, None)
        assert get(platform, "/who", Micro_Namespace="elsewhere")[0] == 404  # there is none there, whoever asks
    finally:
        platform.micro("kill", "who")


async def test_d2_where_the_rule_says_accounts_nobody_calls_a_users_service(own_platform, tmp_path):
    own_platform.extra += ["--set", "auth.default_rule=account"]
    own_platform.start()
    run_who(own_platform, tmp_path, "who")
    assert get(own_platform, "/who")[0] == 401
    async with micro.connect(own_platform.address("proxy")) as nobody:
        with pytest.raises(Unauthenticated):
            await nobody.caller.call("who", "Who.Call", {}, dict)
    known = json.loads((own_platform.data / "admin.json").read_text())
    async with micro.connect(own_platform.address("proxy"), id=known["id"], secret=known["secret"]) as process:
        assert (await process.caller.call("who", "Who.Call", {}, dict))["account"] == "admin"


@pytest.fixture
async def sealed(as_admin):
    """Secrets of two namespaces, and the store's records of both."""
    trees = [Config(RemoteConfig(caller=as_admin.caller), namespace=name) for name in ("sealed", "sealed-too")]
    for tree in trees:
        await tree.set("plain", "not a secret")
        await tree.set("one", "the first secret", secret=True)
        await tree.set("two", "the other secret", secret=True)
    kept = as_admin.store.table("config", database="micro")
    return trees[0], kept, [(await kept.read(tree.namespace)).value.decode() for tree in trees]


def texts(record):
    return re.findall(r's1:[^"]+', record)


async def test_d13_a_secret_that_is_damaged_or_put_elsewhere_is_told_and_harms_no_other(platform, sealed):
    tree, kept, (record, foreign) = sealed
    assert await tree.get("one", secret=True) == "the first secret"
    pid = platform.pids()["config"]
    one, two = texts(record)
    head, _, body = one.rpartition(":")
    raw = base64.b64decode(body)
    flipped = raw[:-1] + bytes([raw[-1] ^ 1])
    damages = {
        "of another path": two,
        "of another namespace": texts(foreign)[0],
        "cut short": one[:-8],
        "a nonce and nothing else": f"{head}:{base64.b64encode(raw[:12]).decode()}",
        "shorter than a nonce": f"{head}:{base64.b64encode(raw[:5]).decode()}",
        "empty": f"{head}:",
        "no base64": f"{head}:zz~~",
        "one bit": f"{head}:{base64.b64encode(flipped).decode()}",
        "no form at all": "sealed",
    }
    for what, damage in damages.items():
        await kept.write("sealed", record.replace(one, damage))
        with pytest.raises(DataLoss, match="one"):
            pytest.fail(f"{what}: {await tree.get('one', secret=True)!r}")
        assert await tree.get("two", secret=True) == "the other secret", what
        assert await tree.get("plain") == "not a secret", what
        assert await tree.get("one") == "[secret]", what
    await kept.write("sealed", record)
    assert await tree.get("one", secret=True) == "the first secret"
    assert platform.pids()["config"] == pid


async def test_d21_of_two_rules_of_one_priority_the_one_that_denies_decides_however_they_are_listed(
    platform, as_admin, tmp_path
):
    for name in ("who-a", "who-b"):
        run_who(platform, tmp_path, name)
    # listed by id: in one case what grants comes first, in the other what denies
    for name, granting, denying in (("who-a", "d21-1", "d21-2"), ("who-b", "d21-4", "d21-3")):
        for id, access in ((granting, 1), (denying, 2)):
            about = auth_pb2.Resource(type="service", name=name, endpoint="*")
            rule = auth_pb2.Rule(id=id, scope="", resource=about, access=access, priority=7)
            asked = auth_pb2.CreateRequest(rule=rule, options=auth_pb2.Options(namespace="micro"))
            await as_admin.caller.call("auth", "Rules.Create", asked, auth_pb2.CreateResponse)
    try:
        for name, denying in (("who-a", "d21-2"), ("who-b", "d21-3")):
            said = platform.micro("auth", "check", "admin", f"service:{name}:Who.Call")
            assert said.startswith(f"refused by rule {denying}\n")
            assert f"  {denying}: denied to everybody" in said
            until(lambda name=name: get(platform, f"/{name}/who/call")[0] == 401, what="the rule's effect")
            with pytest.raises(PermissionDenied):
                await as_admin.caller.call(name, "Who.Call", {}, dict)
    finally:
        for id in ("d21-1", "d21-2", "d21-3", "d21-4"):
            platform.micro("auth", "delete", "rule", id)
        platform.micro("kill", "who-a", "who-b")
    assert "d21" not in platform.micro("auth", "list", "rules")
