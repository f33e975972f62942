"""Profiles: where they come from, how they merge, and that all mistakes are told together."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from micro.errors import ConfigError
from micro.plugin import discovery, profile, tables, validate
from micro.plugin.settings import Secret, duration

from .conftest import Install

ALL = 'extends = "toys"'
TOYS = "\n[profile.toys]\n" + "\n".join(f'{name}.plugin = "toy"' for name in tables.TABLES if name != "blobs")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("MICRO_CONFIG", raising=False)
    monkeypatch.delenv("MICRO_PROFILE", raising=False)


def write(text: str) -> Path:
    path = Path("micro.toml")
    path.write_text(text + TOYS)
    return path


def problems(name: str, **options: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        profile.load(name, **options)  # type: ignore[arg-type]
    return caught.value.problems


def test_a_profile_lies_over_what_it_extends(things: None) -> None:
    write(f"""
[profile.base]
{ALL}
store.plugin = "redis"
store.url = "redis://base"
store.timeout = "2s"
[profile.staging]
extends = "base"
store.timeout = "3s"
""")
    made = profile.load("staging")
    assert made.table("store") == {"plugin": "redis", "url": "redis://base", "timeout": "3s"}
    assert made.plugin("events") == "toy"
    assert made.address("store") == "127.0.0.1:8002"


def test_set_wins_over_the_profile(things: None) -> None:
    write(f'[profile.x]\n{ALL}\nstore.plugin = "redis"\nstore.retries = 1\n')
    made = profile.load(
        "x",
        overrides=["store.retries=7", 'store.hosts=["a", "b"]', "store.address=127.0.0.1:0", "insecure=true",
                   "events.plugin=redis", "events.hosts=a, b", "events.password=12"],
    )  # fmt: skip
    cls = discovery.load("store", "redis").settings_type
    assert made.settings("store", cls).retries == 7  # type: ignore[attr-defined]
    assert made.settings("store", cls).hosts == ["a", "b"]  # type: ignore[attr-defined]
    assert made.settings("events", cls).hosts == ["a", "b"]  # type: ignore[attr-defined]
    assert made.settings("events", cls).password == Secret("12")  # type: ignore[attr-defined]
    assert made.address("store") == "127.0.0.1:0"
    assert made.insecure is True


def test_changing_the_plugin_drops_the_other_drivers_keys_and_keeps_the_services(things: None) -> None:
    write(f"""
[profile.base]
{ALL}
[profile.base.auth]
plugin = "redis"
url = "redis://base"
address = "127.0.0.1:9999"
[profile.base.config]
plugin = "redis"
secret_key = "a chosen one"
[profile.x]
extends = "base"
auth.plugin = "toy"
config.plugin = "toy"
""")
    made = profile.load("x")
    assert made.driver_values("auth") == {}
    assert made.address("auth") == "127.0.0.1:9999"
    assert made.setting("config", "secret_key") == Secret("a chosen one")


def test_a_backend_lends_its_keys_to_all_that_use_it_and_the_table_wins(things: None) -> None:
    write(f"""
[backend.redis]
url = "redis://shared"
retries = 9
[profile.x]
{ALL}
store.plugin = "redis"
store.retries = 1
events.plugin = "redis"
""")
    made = profile.load("x", overrides=["backend.redis.timeout=9s"])
    assert made.table("store") | made.table("events") == {
        "plugin": "redis", "url": "redis://shared", "retries": 9, "timeout": "9s",
    }  # fmt: skip
    assert made.table("store")["retries"] == 1


def test_what_a_server_cannot_be_made_of_is_a_mistake() -> None:
    found = problems("local", overrides=["registry.plugin=remote", "transport=memory"], required=["registry"])
    assert any("'remote' asks the service registry" in line for line in found)
    assert any("'memory' carries calls within one process" in line for line in found)


def test_a_number_of_things_is_one_or_more() -> None:
    found = problems("local", overrides=["store.readers=0", "api.max_connections=-5"])
    assert any(line.endswith("readers: expected 1 or more, got 0") for line in found)
    assert any(line.endswith("max_connections: expected 1 or more, got -5") for line in found)


def test_a_backend_lends_its_keys_to_a_plugin_that_a_variable_names(
    things: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f"""
[backend.redis]
url = "redis://shared"
[profile.x]
{ALL}
store.plugin = "${{CHOSEN:-redis}}"
""")
    assert profile.load("x").table("store")["url"] == "redis://shared"
    monkeypatch.setenv("CHOSEN", "memory")
    assert "url" not in profile.load("x").table("store")


def test_variables_are_expanded_in_the_chosen_profile_only(things: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "db=x")
    write(f"""
[profile.other]
store.url = "${{NOT_SET}}"
[profile.x]
{ALL}
store.plugin = "redis"
store.url = "redis://${{REDIS_HOST}}:${{REDIS_PORT:-6379}}/$${{x}}"
""")
    assert profile.load("x").table("store")["url"] == "redis://db=x:6379/${x}"


def test_a_profile_of_a_built_in_name_extends_it(things: None) -> None:
    write('[profile.local]\nstore.plugin = "redis"\n')
    made = profile.load("local", required=["store"])
    assert made.plugin("store") == "redis"
    assert made.plugin("config") == "store"
    write('[profile.local]\nextends = "local"\nstore.plugin = "redis"\n')
    assert profile.load("local", required=["store"]).plugin("config") == "store"


def test_all_mistakes_are_told_together_each_with_file_table_key_and_nearest(things: None) -> None:
    write(f"""
[profil.x]
[profile.x]
{ALL}
transprt = "nghttp2"
insecure = "perhaps"
[profile.x.store]
plugin = "redis"
urll = "redis://x"
timeout = "2 parsecs"
cache = "64MiBs"
retries = "many"
address = "8002"
[profile.x.evnts]
plugin = "toy"
[profile.x.config]
plugin = "needy"
[profile.x.auth]
plugin = "reddis"
[profile.x.broker]
plugin = "toy"
password = "${{BROKER_PASSWORD}}"
workers = 4
limits.mesage = "1MiB"
[profile.x.api]
plugin = "toy"
address = "0.0.0.0:8080"
[profile.x.hooks]
enabled = ["tracer"]
enable = true
""")
    found = problems("x", overrides=["store.timeot=5s", "nonsense", "stor.url=x", "backend.redsi.url=x"])
    expected = [
        "micro.toml: unknown table [profil]; did you mean 'profile'?",
        "micro.toml: [profile.x] transprt: unknown key; did you mean 'transport'?",
        "micro.toml: [profile.x] insecure: expected true or false, got 'perhaps'",
        "micro.toml: [profile.x.store] urll: unknown setting; did you mean 'url'?",
        "micro.toml: [profile.x.store] timeout: expected a duration like '2s' or '150ms', got '2 parsecs'",
        "micro.toml: [profile.x.store] cache: expected a size like '64MiB', got '64MiBs'",
        "micro.toml: [profile.x.store] retries: expected int, got 'many'",
        "micro.toml: [profile.x.store] address: expected 'host:port' with a port of 0 to 65535, got '8002'",
        "micro.toml: [profile.x] evnts: unknown table; did you mean 'events'?",
        "micro.toml: [profile.x.config] url: is required",
        "micro.toml: [profile.x.broker] password: ${BROKER_PASSWORD} is not set in the environment",
        "micro.toml: [profile.x.broker] password: unknown setting",
        "micro.toml: [profile.x.broker] workers: a service has one process so far, got 4",
        "micro.toml: [profile.x.broker] limits: unknown limit 'mesage'",
        "micro.toml: [profile.x.api] address: 0.0.0.0:8080 is reachable from other machines: give [profile.x.api] tls",
        "micro.toml: [profile.x.hooks] enabled: no hook plugin 'tracer' is installed",
        "micro.toml: [profile.x.hooks] enable: unknown key; did you mean 'enabled'?",
        "micro.toml: [profile.x.auth] plugin: no auth plugin 'reddis' is installed",
        "--set store.timeot: unknown setting; did you mean 'timeout'?",
        "--set nonsense: expected a key like store.timeout=5s",
        "--set stor: unknown table; did you mean 'store'?",
        "--set backend.redsi: no service of this profile uses plugin 'redsi'; did you mean 'redis'?",
    ]
    for words in expected:
        assert any(line.startswith(words) for line in found), (words, found)
    assert len(found) == len(expected), set(found) - set(expected)
    assert "thing_base" not in sys.modules, "a plugin was imported in the process that asked"


def test_an_unset_variable_is_one_problem_whatever_its_key_is(things: None) -> None:
    write(f"""
[profile.x]
{ALL}
transport = "${{NOPE}}"
insecure = "${{NOPE}}"
[profile.x.store]
plugin = "${{NOPE}}"
[profile.x.config]
plugin = "needy"
url = "${{NOPE}}"
address = "${{NOPE}}"
limits.message = "${{NOPE}}"
[profile.x.broker]
plugin = "redis"
retries = "${{NOPE}}"
hosts = ["${{NOPE}}", "${{NADA}}"]
[profile.x.hooks]
enabled = "${{NOPE}}"
""")
    where = [
        "[profile.x] insecure", "[profile.x] transport", "[profile.x.broker] hosts", "[profile.x.broker] retries",
        "[profile.x.config] address", "[profile.x.config] limits", "[profile.x.config] url",
        "[profile.x.hooks] enabled", "[profile.x.store] plugin",
    ]  # fmt: skip
    expected = [f"micro.toml: {place}: ${{NOPE}} is not set in the environment" for place in where]
    expected.append("micro.toml: [profile.x.broker] hosts: ${NADA} is not set in the environment")
    assert sorted(problems("x", overrides=["store.url=x"])) == sorted(expected)


def test_a_transport_that_is_not_there_is_told_once_and_with_its_place(things: None) -> None:
    write(f'[profile.x]\n{ALL}\ntransport = "quic"\n')
    words = "micro.toml: [profile.x] transport: no transport plugin 'quic' is installed (installed: "
    for thorough in (False, True):
        (found,) = problems("x", thorough=thorough)
        assert found.startswith(words)


def test_a_transport_that_is_none_and_a_hook_that_breaks_are_told_with_their_places(
    things: None, install: Install
) -> None:
    install("micro-plugin-tracer", "1", {"micro.hooks": {"tracer": "tracer_broken:Tracer"}}, tracer_broken="1 / 0")
    write(f'[profile.x]\n{ALL}\ntransport = "toycp"\nhooks.enabled = ["tracer"]\n')
    transport, hook = problems("x")
    assert transport.startswith("micro.toml: [profile.x] transport: ")
    assert hook.startswith("micro.toml: [profile.x.hooks] enabled: ")


def test_an_unknown_profile_names_the_file_and_the_nearest(things: None) -> None:
    assert problems("locl") == ["no micro.toml: unknown profile 'locl'; did you mean 'local'?"]
    write('[profile.a]\nextends = "b"\n')
    assert problems("toy") == ["micro.toml: unknown profile 'toy'; did you mean 'toys'?"]
    assert problems("nope") == [
        "micro.toml: unknown profile 'nope'; known: a, client, cloud, local, service, test, toys"
    ]
    assert problems("a")[0].startswith("micro.toml: [profile.a] extends: unknown profile 'b'")


def test_extending_in_a_circle_is_told(things: None) -> None:
    write('[profile.a]\nextends = "b"\n[profile.b]\nextends = "a"\n')
    assert problems("a") == ["micro.toml: [profile.b] extends: goes in a circle: a -> b -> a"]


def test_broken_toml_is_told_with_its_line() -> None:
    write("[profile.a\n")
    assert problems("a")[0].startswith("micro.toml: ")
    assert "line 1" in problems("a")[0]


def test_a_named_file_must_be_there() -> None:
    assert problems("local", config="nowhere.toml") == ["--config: nowhere.toml is not a file"]
    assert "MICRO_CONFIG" in problems("local", environ={"MICRO_CONFIG": "nowhere.toml"})[0]


def test_the_users_config_folder_is_the_last_place(things: None, tmp_path: Path) -> None:
    (tmp_path / "config" / "micro").mkdir(parents=True)
    (tmp_path / "config" / "micro" / "micro.toml").write_text(f"[profile.mine]\n{ALL}\n{TOYS}")
    assert profile.load("mine").plugin("store") == "toy"
    assert profile.find() == tmp_path / "config" / "micro" / "micro.toml"
    write(f"[profile.mine]\n{ALL}\nstore.address = '127.0.0.1:1'")
    assert profile.load("", environ={"MICRO_PROFILE": "mine"}).address("store") == "127.0.0.1:1"


def test_a_profile_without_its_plugins_says_what_to_install(things: None) -> None:
    write(f'[profile.x]\n{ALL}\nruntime.plugin = "kubernetes"\nregistry.plugin = "consul"\n')
    found = problems("x")
    assert any("try: pip install micro-plugin-runtime-kubernetes" in line for line in found)
    assert any("try: pip install micro-plugin-registry-consul" in line for line in found)
    assert discovery.missing("events", "nats").endswith("try: pip install micro-plugin-broker-nats")


def test_a_profile_that_lacks_a_primitive_says_which(things: None) -> None:
    write('[profile.x]\nstore.plugin = "toy"\n')
    assert "names no plugin for registry, config, auth" in problems("x")[0]
    assert 'extends = "local"' in problems("x")[0]


def test_beyond_loopback_needs_tls_trust_or_the_word(things: None) -> None:
    text = f'[profile.x]\n{ALL}\nproxy.address = "10.0.0.4:8081"\n'
    write(text)
    assert "reachable from other machines" in problems("x")[0]
    for allowed in ("insecure=true", "trusted_addresses=10.0.0.4:8081", 'proxy.tls={cert="a", key="b"}'):
        assert profile.load("x", overrides=[allowed]).address("proxy") == "10.0.0.4:8081"


def test_checking_imports_every_plugin_elsewhere_and_reports_each(things: None) -> None:
    write(f'[profile.x]\n{ALL}\nstore.plugin = "broken"\nconfig.plugin = "old"\nauth.plugin = "stranger"\n')
    with pytest.raises(ConfigError) as caught:
        profile.check("x")
    text = str(caught.value)
    assert "[profile.x.store] plugin: store plugin 'broken'" in text
    assert "interface 1" in text
    assert "is not a ThingDriver" in text
    assert "thing_base" not in sys.modules


def test_a_plugin_that_ends_the_process_is_named(things: None) -> None:
    write(f'[profile.x]\n{ALL}\nstore.plugin = "deadly"\n')
    assert problems("x") == [
        "micro.toml: [profile.x.store] plugin: the plugin ends its process while it is imported (exit 3)"
    ]


def test_a_plugin_that_hangs_is_named(things: None, install: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "TIMEOUT", 0.3)
    install(  # type: ignore[operator]
        "micro-plugin-slow",
        "1",
        {"micro.store": {"slow": "thing_slow:Thing"}},
        thing_slow="import time\ntime.sleep(60)",
    )
    write(f'[profile.x]\n{ALL}\nstore.plugin = "slow"\n')
    started = time.monotonic()
    assert "takes longer than 0.3 s to import" in problems("x")[0]
    assert time.monotonic() - started < 10


def test_showing_masks_secrets(things: None) -> None:
    write(f"""
[profile.x]
{ALL}
store.plugin = "redis"
store.url = "redis://ann:hush@db:6379"
store.password = "hush"
config.secret_key = "hush"
""")
    text = profile.show(profile.load("x"))
    assert "hush" not in text
    assert 'url = "redis://ann:***@db:6379"' in text
    assert 'password = "***"' in text
    assert "timeout = 5.0" in text, "defaults of the driver are filled in"
    Path("micro.toml").write_text(text)
    assert profile.load("x", required=["store"]).table("store")["retries"] == 3


def test_what_cannot_be_imported_can_be_shown(things: None) -> None:
    write(f'[profile.x]\n{ALL}\nruntime.plugin = "kubernetes"\n')
    assert '[profile.x.runtime]\nplugin = "kubernetes"' in profile.show(profile.load("x", required=()))


def test_profiles_are_listed_with_their_origin(things: None) -> None:
    write('[profile.staging]\nextends = "cloud"\n')
    found = {name: rest for name, *rest in profile.listed()}
    assert found["staging"] == ["micro.toml", "extends cloud"]
    assert found["local"][0] == "built in"


def test_a_backends_key_unknown_to_one_of_its_two_drivers_is_left_out_for_that_one(
    things: None, install: object
) -> None:
    install(  # type: ignore[operator]
        "micro-plugin-duo",
        "1",
        {"micro.store": {"duo": "thing_duo:DuoStore"}, "micro.events": {"duo": "thing_duo:DuoEvents"}},
        thing_duo="""
            from thing_base import OtherDriver, RedisSettings, ThingDriver, Settings, setting
            class DuoSettings(Settings):
                url: str = setting("", "")
            class DuoStore(ThingDriver, interface=2):
                settings_type = DuoSettings
            class DuoEvents(OtherDriver, interface=1):
                settings_type = RedisSettings
            """,
    )
    write(f"""
[backend.duo]
url = "x"
retries = 2
nonsense = 1
[profile.x]
{ALL}
store.plugin = "duo"
events.plugin = "duo"
""")
    (found,) = problems("x")
    assert found.startswith("micro.toml: [backend.duo] nonsense: unknown setting")
    write(Path("micro.toml").read_text().removesuffix(TOYS).replace("nonsense = 1", ""))
    made = profile.load("x")
    assert made.settings("store", discovery.load("store", "duo").settings_type).url == "x"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(2, 2.0), (0.5, 0.5), ("2", 2.0), (" 0.5 ", 0.5), ("2s", 2.0), ("150ms", 0.15), ("1h30m", 5400.0)],
)
def test_a_duration_is_a_number_of_seconds_also_as_set_gives_it_or_has_units(told: object, seconds: float) -> None:
    assert duration(told) == seconds


@pytest.mark.parametrize("told", [-1, "-1", "1e3", "", "s", "2 parsecs", True, None])
def test_what_is_no_duration_is_refused(told: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        duration(told)
