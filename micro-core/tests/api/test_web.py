"""The gateway imports the server's half of aiohttp, and nobody is the worse for it."""

import subprocess
import sys

PROGRAM = """
import sys
import micro.api.console, micro.api.handler, micro.api.websocket
assert "aiohttp.client" not in sys.modules, "the client came along"
from aiohttp import web, ClientSession
import aiohttp
assert aiohttp.web is web and web.Application and aiohttp.__version__, "the whole is not there"
from micro.api.web import Response
assert Response is web.Response
try:
    from aiohttp import nonsense
except ImportError:
    print("fine")
"""


def test_a_client_is_imported_by_who_asks_for_one():
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert said.stdout == "fine\n", said.stderr
