"""`micro server` and `micro service NAME`: from options to an exit code.

Exit codes: 0 stopped in order, 1 a taken port, a data folder in use or a service that failed, 78 a wrong profile, 130
interrupted while starting.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Sequence

from micro.errors import ConfigError
from micro.plugin import profile as profiles
from micro.plugin.profile import Profile
from micro.server import folder, keys, layout, ports, preload, process
from micro.server.control import Control
from micro.server.layout import Spec
from micro.server.minter import RENEW
from micro.server.options import Options, refuse
from micro.server.report import Report
from micro.server.supervisor import FAILED, READY_LIMIT, Supervisor
from micro.server.worker import CONFIG


def run_server(
    options: Options = Options(),  # noqa: B008 - immutable
    *,
    specs: Sequence[Spec] = layout.CORE,
    preloaded: bool = True,
    ready_limit: float = READY_LIMIT,
    renew: float = RENEW,
) -> int:
    """Boot the platform and stay until it has stopped; gives the exit code. Belongs to a main thread without others.

    The keyword arguments are for tests: other services, impatience.
    """
    began = time.monotonic()
    gc.disable()  # nothing that is imported is garbage, and looking for some takes its time
    unsupported = process.supported()
    if unsupported:
        return refuse(unsupported, FAILED)
    names = [spec.name for spec in specs]
    try:
        load = profiles.check if options.check else profiles.load
        profile = load(options.profile, config=options.config, overrides=options.sets("proxy"), required=names)
    except ConfigError as err:
        return refuse(str(err), CONFIG)
    if options.check:
        _say(f"profile {profile.name} is fine: {', '.join(f'{n} = {profile.plugin(n)}' for n in names)}")
        return reach(profile) if options.connect else 0
    try:
        data = folder.locate(options.data)
        folder.prepare(data)
        lock = folder.Lock(data)
    except folder.FolderError as err:
        return refuse(str(err), FAILED)
    try:
        taken = ports.taken({name: profile.address(name) for name in names})
        if taken:
            return refuse("\n".join(taken), FAILED)
        keys.check(data)
        keys.ensure(data, _admin_secret(profile))
        report = Report(profile, data, began=began)
        supervisor = Supervisor(profile, data, report, specs=specs, ready_limit=ready_limit, renew=renew)
        return _supervise(supervisor, preloaded=preloaded)
    except folder.FolderError as err:
        return refuse(str(err), FAILED)
    finally:
        lock.release()


def run_service(name: str, options: Options = Options()) -> int:  # noqa: B008 - immutable
    """Serve one core service alone, in the foreground: see single.py."""
    from micro.server import single

    return single.run_service(name, options)


def reach(profile: Profile) -> int:
    """Try the profile's backends and say what came of each; gives 1 if one did not answer."""
    from micro.plugin import reach as trying

    tried = trying.backends(profile)
    if not tried:
        _say("no backends to try: every driver of it is embedded")
    for each in tried:
        if not each.problem:
            _say(f"{each.table} [{each.plugin}]: reached in {each.took * 1000:.0f} ms")
    problems = [each.problem for each in tried if each.problem]
    return refuse("\n".join(problems), FAILED) if problems else 0


def _supervise(supervisor: Supervisor, *, preloaded: bool) -> int:
    server = supervisor.data / "server.json"
    server.unlink(missing_ok=True)  # of a server that was killed
    supervisor.prepare()  # the minter does its imports beside ours
    if preloaded:
        preload.load(supervisor.profile)
        preload.keys(supervisor.data / "keys")
    control = Control(supervisor)
    try:
        return supervisor.run()
    finally:
        control.close()
        server.unlink(missing_ok=True)


def _admin_secret(profile: Profile) -> str:
    """Give the admin's secret that was chosen; empty to make one up."""
    named = os.environ.pop("MICRO_AUTH_ADMIN_SECRET", "")  # no child needs it
    return str(profile.setting("auth", "admin_secret", "")) or named


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
