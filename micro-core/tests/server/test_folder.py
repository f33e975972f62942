"""What lies in a data folder: whose it is, who may read it, what it says."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from micro.server import folder, keys, minter

from .conftest import Server


def modes(path: Path) -> dict[str, int]:
    return {str(p.relative_to(path)): stat.S_IMODE(p.lstat().st_mode) for p in path.rglob("*")}


def test_everything_in_it_is_its_owners_alone(server: Server) -> None:
    server.data.parent.mkdir(exist_ok=True)
    server.start(which="few")
    found = modes(server.data)
    assert {"lock", "server.json", "control.sock", "secret.key", "admin.json", "logs/core/store.log"} <= set(found)
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    for name, mode in found.items():
        assert mode & 0o077 == 0, f"{name} is {mode:04o}"
    assert server.stop() == 0


def test_keys_are_made_once_and_kept(server: Server) -> None:
    server.start(which="few")
    assert server.stop() == 0
    kept = {p.name: p.read_bytes() for p in [*(server.data / "keys").iterdir(), server.data / "secret.key"]}
    admin = json.loads((server.data / "admin.json").read_text())
    assert len(base64.b64decode(kept["secret.key"])) == 32
    assert {k: admin[k] for k in ("version", "id", "namespace")} == {"version": 1, "id": "admin", "namespace": "micro"}
    assert len(admin["secret"]) >= 22, "128 bits"
    server.start(which="few")
    assert server.stop() == 0
    assert {p.name: p.read_bytes() for p in [*(server.data / "keys").iterdir(), server.data / "secret.key"]} == kept
    assert json.loads((server.data / "admin.json").read_text()) == admin


def test_the_admins_secret_can_be_chosen_before_the_first_start(server: Server) -> None:
    server.environ["MICRO_AUTH_ADMIN_SECRET"] = "from the environment"
    server.start(which="few")
    assert server.stop() == 0
    assert json.loads((server.data / "admin.json").read_text())["secret"] == "from the environment"


@pytest.mark.parametrize("name", ["secret.key", "admin.json", "keys/*.pem"])
def test_a_key_that_others_may_read_refuses_the_start(server: Server, name: str) -> None:
    server.start(which="few")
    assert server.stop() == 0
    (path,) = server.data.glob(name)
    path.chmod(0o640)
    server.start(which="few", wait=False)
    assert server.wait() == 1
    assert f"{path} can be read by others (mode 0640): chmod 600 {path}" in server.errors()


def test_a_folder_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    tmp_path.chmod(0o755)
    with pytest.raises(folder.FolderError, match="not empty"):
        folder.prepare(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_single_service_shares_the_folder_but_not_with_a_server(tmp_path: Path) -> None:
    folder.prepare(tmp_path / "data")
    store, config = (folder.Lock(tmp_path / "data", name) for name in ("store", "config"))
    with pytest.raises(folder.FolderError, match="in use"):
        folder.Lock(tmp_path / "data", "store")
    with pytest.raises(folder.FolderError, match="in use"):
        folder.Lock(tmp_path / "data")
    store.release()
    config.release()
    folder.Lock(tmp_path / "data").release()


def test_an_administrators_file_that_is_gone_or_damaged_is_told_and_not_made_up(server: Server) -> None:
    """The account has its secret already: another one in the file would only look as if it were its."""
    server.start()
    assert server.stop() == 0
    admin = server.data / "admin.json"
    admin.unlink()
    server.start()
    assert server.stop() == 0
    assert not admin.exists()
    assert f"{admin} is gone" in server.printed()
    folder.replace(admin, b"{bad")
    server.start(wait=False)
    assert server.wait() == 1
    assert f"{admin} is damaged" in server.printed()


def test_of_many_who_need_the_first_key_at_once_one_makes_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder.prepare(data)
    command = [sys.executable, "-m", "micro.server.minter", str(data)]
    minters = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("store", "auth") * 3]
    tokens = [minter.communicate(timeout=60)[0].strip() for minter in minters]
    (key,) = (data / "keys").glob("*.pem")
    assert [p.stem for p in (data / "keys").glob("*.pub")] == [key.stem]
    assert {jwt.get_unverified_header(token)["kid"] for token in tokens} == {key.stem}


def test_a_folder_that_another_one_prepares_meanwhile_is_no_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    listed = Path.iterdir

    def late(path: Path) -> Iterator[Path]:
        monkeypatch.setattr(Path, "iterdir", listed)
        folder.prepare(data)  # the other one does all of it between our two looks
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", late)
    folder.prepare(data)
    assert (data / "keys").is_dir()


def test_a_newer_schema_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    folder.replace(path, b'{"version": 7}')
    with pytest.raises(folder.FolderError, match="schema version 7, this micro knows 1"):
        folder.read_json(path)


def test_a_file_is_created_whole_and_never_over_another(tmp_path: Path) -> None:
    left = tmp_path / f".key.{os.getpid()}"  # by a process of this number that was killed
    left.write_bytes(b"fi")
    assert folder.create(tmp_path / "key", b"first")
    assert not folder.create(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_a_core_token_is_what_the_wire_says(tmp_path: Path) -> None:
    folder.prepare(tmp_path / "data")
    key = keys.load_or_make(tmp_path / "data")
    kid = key.kid
    assert keys.load_or_make(tmp_path / "data").kid == kid
    token = minter.token("store", key)
    public = load_pem_public_key((tmp_path / "data" / "keys" / f"{kid}.pub").read_bytes())
    said = jwt.decode(token, public, ["RS256"], audience="micro")  # type: ignore[arg-type]
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": kid}
    assert said["exp"] - said["iat"] == 600
    assert {key: said[key] for key in ("type", "scopes", "name", "iss", "sub", "aud", "use")} == {
        "type": "service", "scopes": ["service"], "name": "store", "iss": "micro", "sub": "store", "aud": "micro",
        "use": "access",
    }  # fmt: skip
    assert said["jti"]
    assert said["nbf"] <= said["iat"]
    pem = (tmp_path / "data" / "keys" / f"{kid}.pem").read_bytes()
    assert b"BEGIN RSA PRIVATE KEY" in pem
    assert load_pem_private_key(pem, None).key_size == 3072  # type: ignore[union-attr]


def test_the_data_folder_is_found_in_order(tmp_path: Path) -> None:
    home = {"XDG_DATA_HOME": "/x"}
    assert folder.locate("/a", {"MICRO_DATA": "/b"}) == Path("/a")
    assert folder.locate(None, {"MICRO_DATA": "/b", **home}) == Path("/b")
    assert folder.locate(None, home) == Path("/x/micro")
    assert folder.locate(None, {}) == Path("~/.local/share/micro").expanduser()


def test_a_very_long_folder_still_has_a_control_socket(server: Server) -> None:
    server.data = server.folder / ("long" * 40) / "data"
    server.data.parent.mkdir()
    (server.data.parent / "micro.toml").write_text((server.folder / "micro.toml").read_text())
    server.start(which="few")
    assert server.status()["state"] == "ready"
    assert server.stop() == 0
