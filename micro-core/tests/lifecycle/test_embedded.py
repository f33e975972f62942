"""The life of every embedded driver."""

import inspect
from pathlib import Path

import apsw
import pytest

from micro.api.http import HttpApi
from micro.auth.store import StoreAuth
from micro.auth.tokens import generate_key, key_pem
from micro.blobs.file import FileBlobs
from micro.blobs.memory import MemoryBlobs
from micro.broker.memory import MemoryBroker
from micro.config.memory import MemoryConfig
from micro.config.store import StoreConfig
from micro.events.memory import MemoryEvents
from micro.events.sqlite import SqliteEvents
from micro.network.local import LocalNetwork
from micro.plugin import discovery
from micro.proxy.grpc import GrpcProxy
from micro.registry.api import Registry
from micro.registry.driver import ALL
from micro.registry.memory import MemoryRegistry
from micro.runtime import process
from micro.runtime.cgroups import Cgroups
from micro.runtime.driver import Limits
from micro.runtime.memory import MemoryEngine, MemoryRuntime
from micro.runtime.process import ProcessEngine, ProcessRuntime
from micro.store.api import Store
from micro.store.memory import MemoryStore
from micro.store.sqlite import SqliteSettings, SqliteStore
from micro.testing import uses
from micro.testing.lifecycle import CheckedSuite, LifecycleSuite, Make
from micro.testing.served import PLATFORM, Served


def nowhere(tmp_path: Path) -> Path:
    """Give a folder that cannot be made: a file is in its place."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "data"


class TestMemoryStore(LifecycleSuite):
    @pytest.fixture
    def make(self) -> Make:
        return MemoryStore


class TestSqliteStore(CheckedSuite):
    library = (OSError, apsw.Error)

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda: SqliteStore(SqliteSettings(readers=2), data=tmp_path)

    @pytest.fixture
    def unopenable(self, tmp_path: Path) -> Make:
        return lambda: SqliteStore(data=nowhere(tmp_path))


class TestMemoryBlobs(LifecycleSuite):
    @pytest.fixture
    def make(self) -> Make:
        return MemoryBlobs


class TestFileBlobs(CheckedSuite):
    library = (OSError,)

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda: FileBlobs(store=Store(MemoryStore()), data=tmp_path)

    @pytest.fixture
    def unopenable(self, tmp_path: Path) -> Make:
        return lambda: FileBlobs(store=Store(MemoryStore()), data=nowhere(tmp_path))


class TestMemoryBroker(LifecycleSuite):
    @pytest.fixture
    def make(self) -> Make:
        return MemoryBroker


class TestMemoryConfig(LifecycleSuite):
    @pytest.fixture
    def make(self) -> Make:
        return MemoryConfig


class TestStoreConfig(LifecycleSuite):
    waits_by_another = True  # its store

    @pytest.fixture
    def make(self) -> Make:
        return lambda: StoreConfig(store=Store(MemoryStore(), table="config"))


class TestMemoryEvents(LifecycleSuite):
    @pytest.fixture
    def make(self) -> Make:
        return MemoryEvents


class TestSqliteEvents(CheckedSuite):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda: SqliteEvents(data=tmp_path)

    @pytest.fixture
    def unopenable(self, tmp_path: Path) -> Make:
        return lambda: SqliteEvents(data=nowhere(tmp_path))


@pytest.fixture(scope="module")
def pem() -> bytes:
    return key_pem(generate_key())


class TestStoreAuth(CheckedSuite):
    library = (OSError,)

    @pytest.fixture
    def make(self, tmp_path: Path, pem: bytes) -> Make:
        keys = tmp_path / "keys"
        keys.mkdir(mode=0o700)
        (keys / "one.pem").write_bytes(pem)
        (keys / "one.pem").chmod(0o600)
        return lambda: StoreAuth(store=Store(MemoryStore(), table="auth"), keys=keys)

    @pytest.fixture
    def unopenable(self, tmp_path: Path) -> Make:
        return lambda: StoreAuth(store=Store(MemoryStore(), table="auth"), keys=nowhere(tmp_path))


class TestMemoryRegistry(LifecycleSuite):
    @pytest.fixture
    def make(self) -> Make:
        return MemoryRegistry


class TestJournalledRegistry(CheckedSuite):
    library = (OSError,)

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda: MemoryRegistry(data=tmp_path)

    @pytest.fixture
    def unopenable(self, tmp_path: Path) -> Make:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "registry.db").write_text("no journal at all\n")
        return lambda: MemoryRegistry(data=tmp_path / "bad")


class TestLocalNetwork(LifecycleSuite):
    @pytest.fixture
    def make(self) -> Make:
        return lambda: LocalNetwork(registry=Registry(MemoryRegistry(), domain=ALL))


class TestMemoryEngine(LifecycleSuite):
    registered = False

    @pytest.fixture
    def make(self) -> Make:
        return MemoryEngine


class TestMemoryRuntime(LifecycleSuite):
    @pytest.fixture
    def make(self) -> Make:
        return MemoryRuntime


@pytest.fixture
def groups(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have control groups, as far as their names go, or none: what the machine has must not decide what is told."""
    proc = tmp_path / "proc"
    proc.mkdir()
    if request.cls.groups:
        (proc / "cgroup").write_text("0::/\n")
        (proc / "mountinfo").write_text(f"30 1 0:2 / {proc} rw - cgroup2 cgroup2 rw\n")
        (proc / "cgroup.subtree_control").write_text("cpu memory pids\n")
    monkeypatch.setattr(process, "Cgroups", lambda: Cgroups(proc=proc))


@pytest.mark.usefixtures("groups")
class TestProcessEngine(LifecycleSuite):
    registered = False
    groups = False

    @pytest.fixture
    def make(self) -> Make:
        return ProcessEngine


class TestProcessEngineWithGroups(TestProcessEngine):
    groups = True


@pytest.mark.usefixtures("groups")
class TestProcessRuntime(LifecycleSuite):
    groups = False

    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        caller = Served().caller(PLATFORM)
        return lambda: ProcessRuntime(store=Store(MemoryStore(), table="runtime"), data=tmp_path, caller=caller)


class TestProcessRuntimeWithGroups(TestProcessRuntime):
    groups = True


class TestHttpApi(LifecycleSuite):
    @pytest.fixture
    def make(self) -> Make:
        return lambda: HttpApi(routes=None)  # type: ignore[arg-type]  # nobody is answered here


class TestGrpcProxy(LifecycleSuite):
    @pytest.fixture
    def make(self) -> Make:
        return GrpcProxy


def test_every_embedded_driver_is_here_or_goes_over_the_wire() -> None:
    shown = {name.removeprefix("Test") for name in globals() if name.startswith("Test")}
    for kind in discovery.PRIMITIVES:
        for name in discovery.names(kind):
            if discovery.is_embedded(kind, name) and kind != "transport" and name != "remote":
                assert discovery.load(kind, name).__name__ in shown


@pytest.mark.parametrize("kind", [kind for kind in discovery.PRIMITIVES if kind not in uses.PARTS])
def test_each_method_of_each_driver_is_used(kind: str) -> None:
    base = discovery.base(kind)
    own = {name for name, it in vars(base).items() if inspect.isfunction(it) and not name.startswith("_")}
    assert set(uses.USES[kind]) == own - {"end", "claim", "share"}  # what a server does with its own alone


@pytest.mark.parametrize("kind", discovery.PRIMITIVES)
def test_what_drivers_may_claim_is_what_their_abstract_class_tells(kind: str) -> None:
    about = discovery.base(kind).__doc__ or ""
    _, _, told = about.partition("Capabilities: ")
    told = told.partition("\n\n")[0]
    if "those of Limits" in told:
        told += "".join(f"`limit-{name}`" for name in Limits.__struct_fields__)
    assert {name for name in uses.ABILITIES[kind] if f"`{name}`" in told} == uses.ABILITIES[kind]
