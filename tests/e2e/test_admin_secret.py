"""The admin's secret changes: this machine's command line and library stay the admin, or say what to do."""

import json
import stat
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e
LIBRARY = "import asyncio; from micro import store; asyncio.run(store.write('by/library', 1))"


def admin(platform):
    path = platform.data / "admin.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return json.loads(path.read_text())


def forgets(platform):
    """The command line has no login left: it has nothing but the machine's file."""
    (platform.home / ".micro" / "tokens").unlink(missing_ok=True)


def is_admin(platform):
    """The command line is the admin as it is, without its login, and so is the library."""
    for prepare in (lambda _: None, forgets):
        prepare(platform)
        assert platform.micro("user") == "admin\n"
        assert "store" in platform.micro("services").split()
        platform.micro("auth", "list", "accounts")
    forgets(platform)
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY], env=platform.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_admins_secret_may_change_on_its_machine_and_elsewhere(own_platform, tmp_path):
    platform = own_platform.start()
    before = admin(platform)
    platform.micro("user", "set", "password", "--old-password", before["secret"], "--new-password", "second-secret")
    assert admin(platform) == before | {"secret": "second-secret"}
    is_admin(platform)
    platform.micro("auth", "update", "secret", "admin", "--new-secret", "third-secret")
    assert admin(platform) == before | {"secret": "third-secret"}
    is_admin(platform)

    # others' secrets, and the admin of another namespace, are none of the file's business
    platform.micro("auth", "create", "account", "ann", "--secret", "anns-secret")
    platform.micro("auth", "update", "secret", "ann", "--new-secret", "anns-second")
    platform.micro("--namespace", "shop", "auth", "create", "account", "admin", "--secret", "shops-secret")
    platform.micro("--namespace", "shop", "auth", "update", "secret", "admin", "--new-secret", "shops-second")
    assert admin(platform)["secret"] == "third-secret"
    is_admin(platform)

    # from elsewhere: a folder of its own, an environment of another name
    home = tmp_path / "elsewhere"
    home.mkdir()
    there = {"HOME": str(home), "MICRO_DATA": str(home / "data")}
    platform.micro("env", "add", "far", platform.address("proxy"), **there)
    there["MICRO_ENV"] = "far"
    platform.micro("login", "--username", "admin", "--password", "third-secret", **there)
    platform.micro(
        "user", "set", "password", "--old-password", "third-secret", "--new-password", "fourth-secret", **there
    )
    assert platform.micro("user", **there) == "admin\n"
    assert admin(platform)["secret"] == "third-secret"
    for argv in (["services"], ["store", "list"], ["call", "store", "Store.Databases"], ["nosuchservice"]):
        said = platform.micro(*argv, code=2)
        assert said.startswith(f"{platform.data}/admin.json is out of date: Secret not correct")
        assert "'micro login --username admin'" in said
    platform.micro("login", "--username", "admin", "--password", "fourth-secret")
    assert "store" in platform.micro("services").split()
    (platform.data / "admin.json").write_text(json.dumps(before | {"secret": "fourth-secret"}))
    is_admin(platform)
    assert "Traceback" not in platform.log.read_text()


def test_a_login_that_died_before_its_time_is_renewed_by_this_machines_file(own_platform):
    platform = own_platform.start()
    platform.micro("user")
    tokens = platform.home / ".micro" / "tokens"
    dead = tokens.read_text()
    platform.micro("auth", "update", "secret", "admin", "--new-secret", "second-secret")
    for argv in (["services"], ["store", "list"], ["call", "store", "Store.Databases"], ["nosuchservice"]):
        tokens.write_text(dead)  # as another home's still is
        platform.micro(*argv, code=1 if argv == ["nosuchservice"] else 0)
    assert platform.micro("user") == "admin\n"
