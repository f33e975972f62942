"""What people get wrong on a running platform: each told in words, with its exit code, and nothing is lost by it."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from micro.testing.platform import MICRO, until

pytestmark = pytest.mark.e2e
HELLO = Path(__file__).parents[2] / "examples" / "helloworld"
RAISES = """
from dataclasses import dataclass

from micro import Service


@dataclass
class Empty:
    pass


class Faulty:
    async def call(self, request: Empty) -> Empty:
        raise KeyError("the secret of the handler")


Service("faulty", handlers=[Faulty()]).run()
"""


def http(platform, path, body=None, token=None, size=None):
    """Ask the gateway; gives status and text."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = body.encode() if isinstance(body, str) else body
    request = urllib.request.Request(f"http://{platform.address('api')}{path}", data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        with err:
            return err.code, err.read().decode()


def by_grpc(platform, path, body=b"{}", token=None):
    """Call the proxy as a plain client does; gives code and details."""
    metadata = [("micro-namespace", "micro"), ("x-content-type", "application/json")]
    metadata += [("authorization", f"Bearer {token}")] if token else []
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(platform.address("proxy"), options=options) as channel:
        try:
            channel.unary_unary(path)(body, metadata=metadata, timeout=20)
        except grpc.RpcError as err:
            return err.code(), err.details()
    return grpc.StatusCode.OK, ""


@pytest.fixture(autouse=True)
def healthy(platform):
    """Whatever a test does, the platform is as it was: the same processes, and helloworld answers."""
    before = platform.pids()
    yield
    assert platform.pids() == before
    assert "Traceback" not in platform.log.read_text()


@pytest.fixture(scope="module")
def hello(platform):
    platform.run(HELLO)
    return platform


@pytest.fixture(scope="module", autouse=True)
def brief(hello):
    """A token that ends while the tests run."""
    hello.micro("auth", "create", "account", "brief", "--secret", "brief-secret")
    made = hello.micro("auth", "create", "token", "--id", "brief", "--secret", "brief-secret", "--expiry", "1").strip()
    assert http(hello, "/helloworld", "{}", made)[0] in {200, 401}
    return made


@pytest.fixture
def elsewhere(platform, tmp_path):
    """Run commands as on another machine: a home and a data folder of its own, the platform's address known."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    place = {"HOME": str(home), "MICRO_DATA": str(home / "data"), "MICRO_ENV": "far"}
    platform.micro("env", "add", "far", platform.address("proxy"), **(place | {"MICRO_ENV": "local"}))

    def run(*args, **more):
        return platform.micro(*args, **(place | more))

    return run


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--profile", "nope"], 78, "nknown profile 'nope'; known: "),
        (["--set", "store.plugin=nope"], 78, "no store plugin 'nope' is installed"),
        (["--set", "api.address=127.0.0.1:99999"], 78, "expected 'host:port' with a port of 0 to 65535"),
        (["--set", "nonsense"], 78, "expected a key like store.timeout=5s"),
        (["--set", "store.pluggin=memory"], 78, "pluggin"),
        (["--porfile", "test"], 1, "Unknown flag: porfile. Did you mean --profile?"),
    ],
)
def test_a_server_that_cannot_be_says_why_and_starts_nothing(platform, tmp_path, argv, code, said):
    said_instead = platform.micro("server", "--data", str(tmp_path / "data"), *argv, code=code)
    assert said in said_instead
    assert not (tmp_path / "data" / "server.json").exists()


def test_without_a_server_every_command_says_so(platform, tmp_path):
    nowhere = {"HOME": str(tmp_path), "MICRO_DATA": str(tmp_path / "data")}
    platform.micro("env", "add", "gone", "127.0.0.1:1", **nowhere)
    for argv in (["status"], ["services"], ["helloworld", "--name=x"], ["call", "a", "A.B"], ["store", "list"]):
        said = platform.micro(*argv, code=4, MICRO_ENV="gone", **nowhere)
        assert said == "Failed to connect to micro server at 127.0.0.1:1\n"


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["nosuchservice"], 1, "Unrecognized micro command: nosuchservice. Please refer to 'micro --help'"),
        (["helloword"], 1, "The nearest: helloworld"),
        (["helloworld", "nope"], 5, "Endpoint Helloworld.Nope not found for service helloworld"),
        (["helloworld", "--nme=x"], 1, "Unknown flag: nme. Did you mean --name?"),
        (["helloworld", "--request_timeout=soon"], 2, "expected a duration"),
        (["helloworld", "-o", "xml"], 1, "Flag --output: expected one of"),
        (["helloworld", "--input={"], 1, "Flag --input: not valid JSON"),
        (["call", "nosuchservice", "A.B"], 4, 'Service "nosuchservice" not found'),
        (["call", "helloworld", "Helloworld.Nope"], 5, 'Service method "Helloworld.Nope" not found'),
        (["call", "helloworld", "Helloworld.Call", "{"], 1, "The request is not valid JSON"),
        (["call", "helloworld", "Helloworld.Call", "[]"], 127, "Expected Request, got list"),
        (["get", "service", "nosuchservice"], 1, 'Service "nosuchservice" not found'),
        (["kill", "nosuchservice"], 1, 'Service "nosuchservice" is not running'),
        (["logs", "nosuchservice"], 1, "Service not found"),
        (["store", "read", "nosuchkey"], 1, "Not found"),
        (["config", "get", "nosuchkey"], 1, "Not found"),
        (["store", "write", "k\n", "x"], 127, "control characters"),
        (["auth", "delete", "account", "nobody"], 127, "not found"),
        (["run", "/nosuchfolder"], 1, "There is no folder '/nosuchfolder'"),
    ],
)
def test_mistakes_at_the_command_line(hello, argv, code, said):
    assert said in hello.micro(*argv, code=code)


def test_words_that_are_no_utf8_are_refused(hello):
    for argv in ([b"helloworld", b"--name=\xff"], [b"\xff"], [b"store", b"write", b"\xff", b"x"]):
        done = subprocess.run([MICRO, *argv], env=hello.env, capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"is not valid UTF-8" in done.stderr


def test_unknown_services_and_endpoints_over_http_and_grpc(hello):
    token = hello.micro("user", "token").strip()
    status, text = http(hello, "/nosuchservice", "{}")
    assert (status, json.loads(text)["code"]) == (404, 404)
    assert http(hello, "/helloworld/Helloworld/Nope", "{}")[0] in {404, 501}
    code, details = by_grpc(hello, "/nosuchservice.A/B", token=token)
    assert code != grpc.StatusCode.OK
    assert "service nosuchservice: route not found" in details
    code, details = by_grpc(hello, "/helloworld.Helloworld/Nope", token=token)
    assert code in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNKNOWN}
    assert "Helloworld.Nope" in details


def test_a_body_that_is_no_json_or_too_big(hello):
    status, text = http(hello, "/helloworld", "{nonsense")
    assert (status, json.loads(text)["code"]) == (400, 400)
    assert http(hello, "/helloworld", b"\xff\xfe")[0] == 400
    big = b'{"name": "' + b"x" * (33 * 1024 * 1024) + b'"}'
    try:
        status = http(hello, "/helloworld", big)[0]
    except urllib.error.URLError as cut:  # the gateway need not read what it has refused
        status = 413 if isinstance(cut.reason, ConnectionError) else 0
    assert status == 413
    token = hello.micro("user", "token").strip()
    code, _ = by_grpc(hello, "/helloworld.Helloworld/Call", big, token=token)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_handler_that_raises_is_an_internal_error_whose_trace_only_its_log_has(platform, tmp_path):
    folder = tmp_path / "faulty"
    folder.mkdir()
    (folder / "main.py").write_text(RAISES)
    platform.run(folder)
    token = platform.micro("user", "token").strip()
    said = platform.micro("faulty", "call", code=127)
    status, text = http(platform, "/faulty", "{}")
    code, details = by_grpc(platform, "/faulty.Faulty/Call", token=token)
    assert status == 500
    assert code == grpc.StatusCode.INTERNAL
    for shown in (said, text, details):
        assert "secret of the handler" not in shown
        assert "nternal error" in shown
    number = said.split()[-1]
    until(lambda: number in platform.micro("logs", "faulty", "-n", "0"), 10, "the log")
    logged = platform.micro("logs", "faulty", "-n", "0")
    assert "Traceback" in logged
    assert "the secret of the handler" in logged
    platform.micro("kill", "faulty")


def test_a_source_that_does_not_start_says_why(platform, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "main.py").write_text("import nosuchmodule\n")
    platform.micro("run", str(folder))
    until(lambda: "error=" in platform.micro("status", "broken"), 30, "the error")
    assert " running " not in platform.micro("status", "broken")
    assert "No module named 'nosuchmodule'" in platform.micro("logs", "broken", "-n", "0")
    platform.micro("kill", "broken")
    assert platform.micro("status", "broken") == ""


def test_a_call_without_a_right_is_refused_in_all_three_ways(hello, elsewhere):
    hello.micro("auth", "create", "account", "eve", "--secret", "eves-secret")
    hello.micro(
        "auth", "create", "rule", "hello-closed", "--scope", "greeter", "--priority", "5",
        "--resource", "service:helloworld:Helloworld.Call",
    )  # fmt: skip
    hello.micro(
        "auth", "create", "rule", "hello-denied", "--access", "denied", "--priority", "4",
        "--resource", "service:helloworld:Helloworld.Call",
    )  # fmt: skip
    try:
        until(lambda: http(hello, "/helloworld", "{}")[0] == 401, 15, "the rules")
        elsewhere("login", "--username", "eve", "--password", "eves-secret")
        token = elsewhere("user", "token").strip()
        until(lambda: http(hello, "/helloworld", "{}", token)[0] == 403, 15, "the rules")
        code, _ = by_grpc(hello, "/helloworld.Helloworld/Call", token=token)
        assert code == grpc.StatusCode.PERMISSION_DENIED
        assert "Traceback" not in elsewhere("helloworld", code=127)
        code, _ = by_grpc(hello, "/helloworld.Helloworld/Call")
        assert code == grpc.StatusCode.UNAUTHENTICATED
        assert "refused" in hello.micro("auth", "check", "eve", "service:helloworld:Helloworld.Call")
    finally:
        hello.micro("auth", "delete", "rule", "hello-closed")
        hello.micro("auth", "delete", "rule", "hello-denied")
        hello.micro("auth", "delete", "account", "eve")
    until(lambda: http(hello, "/helloworld", "{}")[0] == 200, 15, "the rules' end")


def test_login_and_logout_from_elsewhere(hello, elsewhere):
    hello.micro("auth", "create", "account", "ann", "--secret", "anns-secret")
    assert elsewhere("user", code=1) == "You are not logged in\n"
    wrong = elsewhere("login", "--username", "ann", "--password", "wrong", code=127)
    assert "not correct" in wrong
    assert "wrong" not in wrong
    done = elsewhere("login", "--username", "ann", "--password-stdin", stdin="anns-secret\n")
    assert done == "Successfully logged in.\n"
    assert elsewhere("user") == "ann\n"
    assert json.loads(elsewhere("helloworld", "--name=Ann")) == {"msg": "Hello Ann"}
    assert elsewhere("logout") == ""
    assert elsewhere("user", code=1) == "You are not logged in\n"
    hello.micro("auth", "delete", "account", "ann")


def test_a_forged_token_is_no_identity(hello):
    token = hello.micro("user", "token").strip()
    head, claims, signature = token.split(".")
    forged = f"{head}.{claims}.{signature[:-8]}AAAAAAAA"
    for bad in (forged, "junk", f"{head}.{claims}."):
        assert http(hello, "/helloworld", "{}", bad)[0] == 401
        assert by_grpc(hello, "/helloworld.Helloworld/Call", token=bad)[0] == grpc.StatusCode.UNAUTHENTICATED


def test_an_account_of_another_namespace_sees_nothing_of_ours(hello, elsewhere):
    hello.micro("--namespace", "shop", "auth", "create", "account", "sam", "--secret", "sams-secret")
    there = {"MICRO_NAMESPACE": "shop"}
    elsewhere("login", "--username", "sam", "--password", "sams-secret", **there)
    assert elsewhere("services", **there) == ""
    assert elsewhere("status", **there) == ""
    for argv in (["status"], ["store", "list"], ["auth", "list", "accounts"], ["config", "get", "--all"]):
        said = elsewhere(*argv, code=2, MICRO_NAMESPACE="micro")  # nobody is logged in there
        assert said[0].isupper()
    hello.micro("--namespace", "shop", "auth", "delete", "account", "sam")


def test_ctrl_c_ends_what_goes_on(hello):
    for argv in (["status", "--watch"], ["services", "--watch"], ["logs", "-f", "helloworld"]):
        process = subprocess.Popen(
            [MICRO, *argv], env=hello.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        if argv[0] != "logs":
            assert process.stdout.readline()
        else:
            time.sleep(0.5)  # it may have nothing to print; either moment is a moment to stop
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130, (argv, err)
        assert b"Traceback" not in err


def test_both_ways_of_a_services_command_say_the_same(hello):
    hello.micro("user")  # logs in, so that the short way can be gone
    for argv in (
        ["helloworld", "--name=x"], ["helloworld"], ["helloworld", "--help"], ["helloworld", "call", "--help"],
        ["helloworld", "-o", "yaml"], ["helloworld", "-o", "table"], ["helloworld", "-o", "raw"],
        ["helloworld", "nope"], ["helloworld", "--nme=x"], ["helloworld", "--name"], ["helloworld", "call", "a", "b"],
        ["helloworld", "--input={"], ["helloworld", "--input=[]"], ["helloworld", "--request_timeout=x"],
        ["nosuchservice"], ["helloworld", "--metadata=x"], ["helloworld", "-name=one-dash"],
    ):  # fmt: skip
        short, whole = (
            subprocess.run([MICRO, *argv], env=hello.env | more, capture_output=True, timeout=60, check=False)
            for more in ({}, {"MICRO_CONFIG_FILE": str(hello.home / "none.json")})
        )
        assert (short.returncode, short.stdout, short.stderr) == (whole.returncode, whole.stdout, whole.stderr), argv


def test_the_store_config_and_auth_commands(platform):
    micro = platform.micro
    assert micro("store", "write", "cli/a", "one", "-t", "clitest") == ""
    micro("store", "write", "cli/b", "two", "-t", "clitest", "--expiry", "1h")
    assert micro("store", "read", "cli/a", "-t", "clitest") == "one\n"
    assert micro("store", "read", "--prefix", "cli/", "-t", "clitest") == "one\ntwo\n"
    assert "EXPIRY" in micro("store", "read", "-p", "cli/", "-v", "-t", "clitest")
    assert micro("store", "list", "cli/", "-t", "clitest") == "cli/a\ncli/b\n"
    assert json.loads(micro("store", "list", "-o", "json", "-t", "clitest")) == [{"key": "cli/a"}, {"key": "cli/b"}]
    assert "clitest" in micro("store", "tables").split()
    assert "micro" in micro("store", "databases").split()
    micro("store", "delete", "cli/a", "-t", "clitest")
    assert micro("store", "read", "cli/a", "-t", "clitest", code=1) == "Not found\n"
    micro("config", "set", "clitest.number", "7")
    micro("config", "set", "clitest.text", "seven")
    micro("config", "set", "clitest.hidden", "hush", "--secret")
    assert micro("config", "get", "clitest.number") == "7\n"
    assert micro("config", "get", "clitest.text") == "seven\n"
    assert micro("config", "get", "clitest.hidden") == "[secret]\n"
    assert micro("config", "get", "clitest.hidden", "--secret") == "hush\n"
    micro("config", "del", "clitest")
    assert micro("config", "get", "clitest.text", code=1) == "Not found\n"
    made = micro("auth", "create", "account", "cliacc", "--scopes", "a,b")
    account = json.loads(made.removeprefix("Account created: "))
    assert (account["id"], account["scopes"]) == ("cliacc", ["a", "b"])
    micro("auth", "update", "secret", "cliacc", "--old-secret", account["secret"], "--new-secret", "another-secret")
    assert micro("auth", "create", "token", "--id", "cliacc", "--secret", "another-secret").count(".") == 2
    assert "cliacc" in micro("auth", "list", "accounts")
    assert "default" in micro("auth", "list", "rules")
    micro("auth", "delete", "account", "cliacc")
    assert "cliacc" not in micro("auth", "list", "accounts")


def test_a_server_stops_when_it_is_asked_to(own_platform):
    own_platform.start()
    own_platform.micro("shutdown")
    assert own_platform.process.wait(30) == 0
    assert "No server runs on" in own_platform.micro("shutdown", code=1)
    assert any(own_platform.data.iterdir())


def test_killing_several_goes_on_after_one_that_is_not_there(platform):
    platform.run(HELLO, "--name", "mortal")
    said = platform.micro("kill", "nobody", "mortal", "nowhere", code=1)
    assert 'Service "nobody" is not running' in said
    assert 'Service "nowhere" is not running' in said
    assert "mortal" not in platform.micro("status")


def test_an_expired_token_is_no_identity(hello, brief):
    """Last: it ends, with what clocks may differ, a minute after it was made."""
    until(lambda: http(hello, "/helloworld", "{}", brief)[0] == 401, 90, "the token's end")
    hello.micro("auth", "delete", "account", "brief")
