"""`micro service NAME`: one core service alone, in the foreground."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from micro.auth.driver import Credentials
from micro.context import CORE_NAMESPACE, CORE_SERVICES
from micro.errors import ConfigError, ServiceError
from micro.plugin import profile as profiles
from micro.plugin.profile import Profile
from micro.plugin.settings import nearest
from micro.rpc.credentials import FixedToken, TokenSource
from micro.rpc.driver import Transport
from micro.server import child, folder, keys, minter, needs, wiring
from micro.server.options import Options, refuse
from micro.server.serving import Serving, transport_of
from micro.server.worker import CONFIG, clean
from micro.service.login import Login

FAILED = 1


def run_service(name: str, options: Options = Options()) -> int:  # noqa: B008 - immutable
    """Serve one core service until a signal; gives the exit code, as `run_server` does.

    It calls the others as `MICRO_AUTH_ID` with `MICRO_AUTH_SECRET`; without them it has this data folder's own keys,
    so it is one with the services on this folder. Where the others are, the profile's addresses say.
    """
    if name not in CORE_SERVICES:
        return refuse(f"no core service {name!r}{nearest(name, CORE_SERVICES)}", FAILED)
    try:
        profile = profiles.load(
            options.profile, config=options.config, overrides=options.sets(name), required=[name],
            thorough=options.check,
        )  # fmt: skip
        if options.check:
            sys.stdout.write(f"profile {profile.name} is fine: {name} = {profile.plugin(name)}\n")
            return 0
        data = folder.locate(options.data)
        folder.prepare(data)
        lock = folder.Lock(data, name)
        try:
            keys.check(data)
            keys.ensure(data)
            child.logs()
            return child.run(_serve(name, profile, data))
        finally:
            lock.release()
    except ConfigError as err:
        return refuse(str(err), CONFIG)
    except (folder.FolderError, ServiceError) as err:
        return refuse(str(err), FAILED)
    except OSError as err:
        return refuse(_words(name, err), FAILED)


async def _serve(name: str, profile: Profile, data: Path) -> int:
    stop = child.stop_signal(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    addresses = {
        other: str(profile.setting(other, "advertise") or profile.address(other))
        for other in CORE_SERVICES
        if other != name
    }
    async with AsyncExitStack() as cleanup:
        serving = await _unless(stop, _started(name, profile, data, addresses, cleanup))
        if serving is not None:
            serving.register(lambda: None)
            await stop.wait()
    return 0


async def _unless(stop: asyncio.Event, start: Coroutine[Any, Any, Serving]) -> Serving | None:
    """Start the service; None when a signal came first, whatever became of the start."""
    starting = asyncio.create_task(start)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return None
    return starting.result()


async def _started(
    name: str, profile: Profile, data: Path, addresses: Mapping[str, str], cleanup: AsyncExitStack
) -> Serving:
    """Wait for what the service needs, start it and say so."""
    transport = transport_of(profile)
    await transport.open()
    cleanup.push_async_callback(transport.close)
    token = await _token(name, data, addresses, transport, cleanup)
    nobody = wiring.caller(transport, addresses, FixedToken())
    try:
        await needs.wait_for(needs.needed(name, profile), name, addresses, nobody, tell=_tell)
    finally:
        await nobody.close()
    serving = Serving(name, profile, data, addresses=addresses, token=token)
    cleanup.push_async_callback(serving.stop)
    try:
        bound = (await serving.start())[name]
    except ServiceError as err:
        raise type(err)(f"{name} does not start: {err.detail}", id=err.id) from err
    sys.stdout.write(f"{name} is ready at {bound} (pid {os.getpid()}, profile {profile.name}); data {data}\n")
    sys.stdout.flush()
    return serving


def _tell(words: str) -> None:
    sys.stderr.write(f"{clean(words)}\n")
    sys.stderr.flush()


async def _token(
    name: str, data: Path, addresses: Mapping[str, str], transport: Transport, cleanup: AsyncExitStack
) -> TokenSource:
    """Give who the service is: the account that the environment names, else a core service of this data folder."""
    identity, secret = os.environ.pop("MICRO_AUTH_ID", ""), os.environ.pop("MICRO_AUTH_SECRET", "")
    if identity and secret:
        nobody = wiring.caller(transport, addresses, FixedToken())
        login = Login(nobody, Credentials(identity, secret), namespace=CORE_NAMESPACE)
        cleanup.push_async_callback(login.close)
        return login
    token = FixedToken(await _minted(name, data))

    async def renew() -> None:
        while True:
            await asyncio.sleep(minter.RENEW)
            token.set(await _minted(name, data))

    cleanup.callback(asyncio.create_task(renew(), name="token").cancel)
    return token


async def _minted(name: str, data: Path) -> str:
    """Have a token minted by a process that ends with it: the key is never in this one's memory."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "micro.server.minter", str(data), name, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise folder.FolderError(f"the signing key in {data / 'keys'} cannot be used")
    return said.decode().strip()


def _words(name: str, err: OSError) -> str:
    if err.errno == errno.EADDRINUSE:
        return f"{name}: {err.strerror}: its address is taken by another program"
    return f"{name}: {err.strerror or err}"
