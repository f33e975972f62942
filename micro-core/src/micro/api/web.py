"""What the gateway uses of aiohttp: its server's half.

`import aiohttp` runs a package that brings a client, cookies and all, and reads the system's certificate authorities: half
of the time and memory that the gateway needs to start. So the package is put there unrun, and its modules are imported by
their own names. Whoever asks it for anything else, as a plugin's middleware may, gets the whole, run at that moment.

Of what these modules import themselves, `standins.py` keeps away what only a client needs.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from micro.api import standins

_FIRST = "aiohttp.web_protocol"  # they import each other in circles; begun here, it comes out


def _put() -> None:
    if "aiohttp" in sys.modules:
        return
    try:
        with standins.standing():
            _package()
            importlib.import_module(_FIRST)
    except (ImportError, AttributeError, TypeError):  # an aiohttp that wants more of them
        for name in [each for each in sys.modules if each.partition(".")[0] == "aiohttp"]:
            del sys.modules[name]
        _package()
        importlib.import_module(_FIRST)


def _package() -> None:
    """Put the package there without running it."""
    spec = importlib.util.find_spec("aiohttp")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")
    loader, package = spec.loader, importlib.util.module_from_spec(spec)
    package.__version__ = ""  # type: ignore[attr-defined]  # its modules tell it to strangers

    def lacking(name: str) -> Any:
        if name.startswith("__"):  # what the import system looks for
            raise AttributeError(name)
        if importlib.util.find_spec(f"aiohttp.{name}") is not None:
            return importlib.import_module(f"aiohttp.{name}")
        del package.__getattr__
        loader.exec_module(package)
        return getattr(package, name)

    package.__getattr__ = lacking  # type: ignore[method-assign]
    sys.modules["aiohttp"] = package


_put()

from aiohttp.http_exceptions import BadStatusLine, LineTooLong  # noqa: E402
from aiohttp.http_writer import HttpVersion10, HttpVersion11  # noqa: E402
from aiohttp.web_protocol import RequestHandler, RequestPayloadError  # noqa: E402
from aiohttp.web_request import BaseRequest  # noqa: E402
from aiohttp.web_response import Response, StreamResponse  # noqa: E402
from aiohttp.web_server import Server  # noqa: E402

__all__ = [
    "BadStatusLine", "BaseRequest", "HttpVersion10", "HttpVersion11", "LineTooLong", "RequestHandler",
    "RequestPayloadError", "Response", "Server", "StreamResponse",
]  # fmt: skip
