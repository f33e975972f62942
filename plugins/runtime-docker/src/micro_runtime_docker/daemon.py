"""The engine's API: one way to ask, with one time limit, and errors of the tree."""

from __future__ import annotations

import asyncio
import errno
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
from aiodocker import Docker, DockerError

from micro.errors import BY_CODE, Code, ConfigError, FailedPrecondition, NotFound, ServiceError
from micro_runtime_docker.settings import DockerSettings

AWAY = 900  # what aiodocker says instead of a status when it cannot connect
CODES = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    409: Code.FAILED_PRECONDITION,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    AWAY: Code.UNAVAILABLE,
}


class Daemon:
    """A Docker engine. Belongs to one loop; a call has `timeout` seconds of the settings, unless it says otherwise."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings
        self._docker: Docker | None = None

    async def open(self) -> Mapping[str, Any]:
        """Connect, once: who starts must know soon. Gives what the engine says of itself."""
        given = self._settings
        if given.host.startswith("unix://"):
            # no limit of connections: each followed log has one
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(given.host.removeprefix("unix://"), limit=0)
            url = "http://docker"
        else:
            connector = aiohttp.TCPConnector(ssl=_context(given), limit=0)
            url = given.host.replace("tcp://", "https://", 1)
        timeout = aiohttp.ClientTimeout(sock_connect=given.connect_timeout)
        session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        self._docker = Docker(url=url, session=session, connector=connector, timeout=timeout)
        try:
            facts: Mapping[str, Any] = await self.ask("GET", "info", limit=given.connect_timeout)
        except BaseException:
            await self.close()
            raise
        return facts

    async def close(self) -> None:
        """Close all connections; who waits for an answer is told."""
        docker, self._docker = self._docker, None
        if docker is not None:
            await docker.session.close()
            await docker.close()

    async def ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        limit: float | None = None,
    ) -> Any:
        """Ask, and give what is answered; None for an empty answer."""
        data = None if body is None else json.dumps(body)
        try:
            async with asyncio.timeout(limit or self._settings.timeout):
                async with self._asked(method, path, params, data) as response:
                    raw = await response.read()
        except Exception as exc:
            raise self.error(exc) from exc
        return json.loads(raw) if raw else None

    async def find(self, path: str) -> Any:
        """Give what is at a path; None where there is nothing."""
        try:
            return await self.ask("GET", path)
        except NotFound:
            return None

    async def remove(self, path: str) -> None:
        """Remove what is at a path, whatever it is doing; nothing there is fine."""
        try:
            await self.ask("DELETE", path, {"force": "1"} | ({"v": "1"} if path.startswith("containers/") else {}))
        except NotFound:
            return
        except FailedPrecondition as err:
            if "already in progress" not in err.detail:
                raise

    async def has(self, container: str, path: str) -> bool:
        """Whether there is such a file in a container, which need not run."""
        docker = self._opened()
        url = docker._canonicalize_url(f"containers/{container}/archive")
        try:
            async with asyncio.timeout(self._settings.timeout):
                # not by the client's own way, which looks for an error's text where an answer to HEAD has none
                async with docker.session.head(url, params={"path": path}) as response:
                    return response.status == HTTPStatus.OK
        except Exception as exc:
            raise self.error(exc) from exc

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, data: Any = None, kind: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Ask for what comes for as long as it takes, in pieces as they come."""
        try:
            async with self._asked(method, path, params, data, kind) as response:
                yield self._pieces(response)
        except (aiohttp.ClientError, DockerError, TimeoutError, OSError) as exc:
            raise self.error(exc) from exc

    async def progress(self, path: str, params: Mapping[str, Any], data: Any) -> AsyncIterator[Mapping[str, Any]]:
        """Send a tar; gives what the engine says meanwhile, an error as FailedPrecondition."""
        rest = b""
        async with self.stream("POST", path, params, data, "application/x-tar") as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for said in (json.loads(line) for line in lines if line.strip()):
                    if "error" in said:
                        raise FailedPrecondition(str(said["error"]).strip())
                    yield said

    def error(self, exc: Exception) -> ServiceError:
        """Word an error of the client as one of the tree."""
        if isinstance(exc, ServiceError):
            return exc
        code = code_of(exc)
        made: ServiceError = BY_CODE[code](_words(exc, self._settings))
        return made

    def _opened(self) -> Docker:
        if self._docker is None:
            raise FailedPrecondition("the engine is closed")
        return self._docker

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, params: Mapping[str, Any] | None, data: Any, kind: str = ""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        docker = self._opened()
        headers = {"Content-Type": kind} if kind else None
        response = await docker._do_query(path, method, params=params, data=data, headers=headers, timeout=None)
        try:
            yield response
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        async for piece in response.content.iter_any():
            yield piece


def code_of(exc: Exception) -> int:
    """Classify what the client raises."""
    match exc:
        case ServiceError():
            return exc.code
        case DockerError() if "no space left" in str(exc.message):
            return Code.RESOURCE_EXHAUSTED
        case DockerError():
            return CODES.get(exc.status, Code.INTERNAL)
        case TimeoutError():  # aiohttp's are, too
            return Code.DEADLINE_EXCEEDED
        case aiohttp.ClientError() | OSError() | json.JSONDecodeError():
            return Code.UNAVAILABLE  # broken off, or half an answer
    return Code.UNKNOWN


def _words(exc: Exception, settings: DockerSettings) -> str:
    if isinstance(exc, DockerError) and exc.status != AWAY:
        return exc.message.strip()
    if isinstance(exc, TimeoutError):
        return f"no answer from {settings.host} in time"
    cause = exc.__context__ if isinstance(exc, DockerError) else exc
    inner = getattr(cause, "os_error", cause)
    number = getattr(inner, "errno", None)
    if number == errno.ECONNREFUSED:
        return f"connection to {settings.host} refused"
    if number == errno.EACCES:
        return f"connection to {settings.host}: permission denied; its group may use it"
    return f"connection to {settings.host}: {getattr(inner, 'strerror', None) or inner or type(exc).__name__}"


def _context(settings: DockerSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        context.load_cert_chain(settings.certificate, settings.key)
    except OSError as err:
        raise ConfigError(f"ca, certificate or key of {settings.host} cannot be read: {err}") from err
    return context
