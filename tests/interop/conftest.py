"""The official tools, built once into the user's cache, and the service that the official client calls."""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from micro.errors import Code
from micro.rpc.driver import START, TAKEN, Dispatcher, Status

HERE = Path(__file__).parent
BUILD_SECONDS = 900  # the first time, on two slow cores


@pytest.fixture(scope="session")
def tools() -> Path:
    """Give the folder with `client` and `h2spec`, built from the pinned modules."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed: the official interoperability client and h2spec need it")
    pinned = (HERE / "go" / "go.mod").read_bytes() + (HERE / "go" / "go.sum").read_bytes()
    version = subprocess.run([go, "version"], check=True, capture_output=True).stdout
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "micro-interop" / hashlib.sha256(pinned + version).hexdigest()[:16]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        built = Path(tempfile.mkdtemp(dir=folder.parent))  # another worker may be building too
        command = [go, "build", "-mod=readonly", "-o", f"{built}/", "tool"]
        try:
            subprocess.run(command, cwd=HERE / "go", check=True, timeout=BUILD_SECONDS)
            with contextlib.suppress(OSError):  # the other was first
                built.rename(folder)
        finally:
            shutil.rmtree(built, ignore_errors=True)
    return folder


@pytest.fixture(scope="session")
def messages(tmp_path_factory):
    """Give the module generated from `messages.proto`."""
    folder = tmp_path_factory.mktemp("messages")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", f"--python_out={folder}", "messages.proto"]
    subprocess.run(command, check=True)
    spec = importlib.util.spec_from_file_location("interop_messages_pb2", folder / "messages_pb2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestService(Dispatcher):
    """grpc.testing.TestService on our own interface."""

    __test__ = False

    def __init__(self, messages) -> None:
        self.m = messages
        self._methods = {
            b"EmptyCall": self._empty_call,
            b"UnaryCall": self._unary_call,
            b"StreamingInputCall": self._streaming_input_call,
            b"StreamingOutputCall": self._streaming_output_call,
            b"FullDuplexCall": self._full_duplex_call,
        }

    def open(self, call) -> int:
        service, _, method = call.path[1:].partition(b"/")
        if service != b"grpc.testing.TestService" or method not in self._methods:
            call.finish(Code.UNIMPLEMENTED, f"unknown service {call.path.decode()}")
            return TAKEN
        call.slot = self._methods[method]
        return START

    async def run(self, call) -> None:
        initial = call.header(b"x-grpc-test-echo-initial")
        trailing = call.header(b"x-grpc-test-echo-trailing-bin")
        try:
            if initial is not None:
                call.send_headers([(b"x-grpc-test-echo-initial", initial)])
            await call.slot(call)
            call.finish(trailers=[(b"x-grpc-test-echo-trailing-bin", trailing)] if trailing is not None else ())
        except Status as status:
            call.finish(status.code, status.message)

    def _payload(self, size: int):
        return self.m.Payload(body=bytes(size))

    def _check(self, request) -> None:
        if request.HasField("response_status") and request.response_status.code:
            raise Status(request.response_status.code, request.response_status.message)

    async def _empty_call(self, call) -> None:
        self.m.Empty.FromString(await call.read())
        await call.write(b"")

    async def _unary_call(self, call) -> None:
        request = self.m.SimpleRequest.FromString(await call.read())
        self._check(request)
        answer = self.m.SimpleResponse(payload=self._payload(request.response_size))
        await call.write(answer.SerializeToString())

    async def _streaming_input_call(self, call) -> None:
        total = 0
        while (message := await call.read()) is not None:
            total += len(self.m.StreamingInputCallRequest.FromString(message).payload.body)
        await call.write(self.m.StreamingInputCallResponse(aggregated_payload_size=total).SerializeToString())

    async def _streaming_output_call(self, call) -> None:
        await self._answer(call, self.m.StreamingOutputCallRequest.FromString(await call.read()))

    async def _full_duplex_call(self, call) -> None:
        while (message := await call.read()) is not None:
            await self._answer(call, self.m.StreamingOutputCallRequest.FromString(message))

    async def _answer(self, call, request) -> None:
        self._check(request)
        for wanted in request.response_parameters:
            await asyncio.sleep(wanted.interval_us / 1e6)
            answer = self.m.StreamingOutputCallResponse(payload=self._payload(wanted.size))
            await call.write(answer.SerializeToString())


@pytest.fixture
def service(messages) -> TestService:
    return TestService(messages)
