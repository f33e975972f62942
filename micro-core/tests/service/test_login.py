"""As whom a program calls: this user's login, an account by its secret, this machine's administrator."""

import json
import os
import time

import pytest

from micro.auth.driver import Credentials
from micro.errors import InvalidArgument, Unauthenticated
from micro.proto import auth_pb2 as pb
from micro.rpc.endpoint import endpoint
from micro.service.login import Login, UserLogin
from micro.service.state import State, Token
from micro.service.surroundings import read
from micro.testing.served import Served


class Auth:
    """Gives tokens by the secret `right` and by the refresh token it gave last."""

    def __init__(self):
        self.count = 0
        self.life = 900
        self.asked = []

    @endpoint(public=True)
    async def token(self, request: pb.TokenRequest) -> pb.TokenResponse:
        self.asked.append(request.id or request.refresh_token)
        if request.secret != "right" and request.refresh_token != f"refresh{self.count}":
            raise InvalidArgument("invalid token provided" if request.refresh_token else "Secret not correct")
        self.count += 1
        now = int(time.time())
        number = self.count
        token = pb.Token(
            access_token=f"t{number}", refresh_token=f"refresh{number}", created=now, expiry=now + self.life
        )
        return pb.TokenResponse(token=token)


@pytest.fixture
async def auth():
    return Auth()


@pytest.fixture
async def caller(auth):
    async with Served() as served:
        await served.serve("auth", [("Auth", auth)])
        yield served.caller(None)


async def test_a_file_whose_secret_is_none_any_more_is_named_with_what_to_do(caller):
    ended = login_of(time.time() - 1, refresh="gone")
    for login in (
        Login(caller, Credentials("admin", "old"), namespace="micro", file="/data/admin.json"),
        UserLogin(caller, ended, otherwise=Credentials("admin", "old"), file="/data/admin.json"),
    ):
        with pytest.raises(Unauthenticated, match=r"/data/admin\.json is out of date: .*micro login --username admin"):
            await login.prepare()
    with pytest.raises(Unauthenticated, match=r"^Secret not correct"):  # whoever gave it knows where it is from
        await Login(caller, Credentials("admin", "old"), namespace="micro").prepare()


def login_of(expiry, refresh="refresh0", env="local"):
    return Token(env, "micro", "ann", expiry, "kept", refresh)


async def test_a_token_is_shown_until_it_is_refused(auth, caller, impatient):
    login = Login(caller, Credentials("a", "right"), namespace="shop")
    assert login.header() is None
    await login.prepare()
    assert login.header() == b"Bearer t1"
    await login.prepare()
    assert auth.count == 1
    assert login.refused(b"Bearer another")
    assert login.header() == b"Bearer t1"
    assert login.refused(b"Bearer t1")
    assert login.header() is None
    await login.prepare()
    assert login.header() == b"Bearer t2"


async def test_a_fresh_token_that_is_refused_is_not_had_anew(auth, caller):
    login = Login(caller, Credentials("a", "right"), namespace="shop")
    await login.prepare()
    assert not login.refused(b"Bearer t1")
    assert login.header() == b"Bearer t1"


async def test_a_wrong_secret_is_told(auth, caller):
    with pytest.raises(Unauthenticated, match="Secret not correct"):
        await Login(caller, Credentials("a", "wrong"), namespace="shop").prepare()


async def test_a_token_is_renewed_behind_the_calls(auth, caller):
    auth.life = 60  # seconds: of the least that is believed, so a third before its end is soon
    login = Login(caller, Credentials("a", "right"), namespace="shop")
    await login.prepare()
    login._renew = 0.0
    assert login.header() == b"Bearer t1"
    await login._renewing
    assert login.header() == b"Bearer t2"


async def test_a_users_login_is_used_and_what_renews_it_is_kept(auth, caller):
    State().keep(login_of(time.time() + 900))
    fresh = UserLogin(caller, login_of(0))
    await fresh.prepare()
    assert fresh.header() == b"Bearer kept"
    State().keep(login_of(time.time() - 1))
    old = UserLogin(caller, login_of(0))
    await old.prepare()
    assert old.header() == b"Bearer t1"
    kept = State().token("local", "micro")
    assert (kept.account, kept.access, kept.refresh) == ("ann", "t1", "refresh1")
    assert kept.expiry > time.time() + 800


async def test_a_login_that_has_ended_says_so_or_gives_way_to_another_account(auth, caller):
    with pytest.raises(Unauthenticated):
        await UserLogin(caller, login_of(0, refresh="dead")).prepare()
    with pytest.raises(Unauthenticated, match="micro login"):
        await UserLogin(caller, login_of(0, refresh="")).prepare()
    login = UserLogin(caller, login_of(0, refresh="dead"), otherwise=Credentials("admin", "right"))
    await login.prepare()
    assert login.header() == b"Bearer t1"
    assert auth.asked == ["dead", "dead", "admin"]


async def test_a_kept_token_that_is_refused_is_renewed(auth, caller):
    State().keep(login_of(time.time() + 900))
    login = UserLogin(caller, login_of(0))
    await login.prepare()
    assert login.refused(b"Bearer kept")
    await login.prepare()
    assert login.header() == b"Bearer t1"


def test_the_command_lines_environment_says_where_and_as_whom(tmp_path):
    state = State()
    state.change(env="far", envs={"far": "platform.example.com"}, namespaces={"far": "shop"})
    state.keep(Token("far", "shop", "ann", 1e12, "t", "r"))
    found = read({"MICRO_DATA": str(tmp_path)})
    assert (found.proxy, found.namespace, found.login.account) == ("platform.example.com", "shop", "ann")
    other = read({"MICRO_DATA": str(tmp_path), "MICRO_PROXY": "other.example.com"})
    assert (other.proxy, other.login) == ("other.example.com", None)
    own = read({"MICRO_DATA": str(tmp_path), "MICRO_AUTH_ID": "a", "MICRO_AUTH_SECRET": "s"})
    assert (own.id, own.login) == ("a", None)
    local = read({"MICRO_DATA": str(tmp_path), "MICRO_ENV": "local"})
    assert (local.proxy, local.login) == ("127.0.0.1:8081", None)


def test_a_state_file_that_cannot_be_read_does_not_stop_a_program(tmp_path, home):
    (home / ".micro").mkdir()
    (home / ".micro" / "config.json").write_text("{")
    assert read({"MICRO_DATA": str(tmp_path)}).proxy == "127.0.0.1:8081"


def test_the_admins_secret_goes_to_this_machines_server_alone(tmp_path):
    (tmp_path / "admin.json").write_text(json.dumps({"id": "admin", "secret": "x", "namespace": "micro"}))
    state = {"pid": os.getpid(), "services": {"proxy": {"address": "127.0.0.1:4711"}}}
    (tmp_path / "server.json").write_text(json.dumps(state))
    assert read({"MICRO_DATA": str(tmp_path)}).secret == "x"
    assert read({"MICRO_DATA": str(tmp_path), "MICRO_PROXY": "127.0.0.1:4711"}).secret == "x"
    assert read({"MICRO_DATA": str(tmp_path), "MICRO_PROXY": "evil.example.com"}).secret == ""
    assert "'x'" not in repr(read({"MICRO_DATA": str(tmp_path)}))
