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
    said = run(PROGRAM)
    assert said.stdout == "fine\n", said.stderr


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_what_only_a_client_needs_is_not_imported_and_is_there_for_who_asks():
    said = run("""
import sys
import micro.api.web
for name in ("attr", "email.policy", "html", "idna", "urllib.request"):
    assert name not in sys.modules, name
from aiohttp import helpers
from yarl import URL
assert URL("http://b\u00fccher.example/").raw_host == "xn--bcher-kva.example"
assert micro.api.web.Response(text="x", headers={"Content-Type": "text/a; charset=ascii"}).charset == "ascii"
assert helpers.getproxies() is not None
import attr, html
assert attr.validators and html.unescape("&amp;") == "&"
print("fine")
""")
    assert said.stdout == "fine\n", said.stderr


def test_an_aiohttp_that_needs_more_gets_it():
    said = run("""
import sys
from micro.api import standins
standins._INSTEAD.update({"attr": {}, "multidict": {}})
import micro.api.web
assert "attr" in sys.modules
assert micro.api.web.Response(text="x").status == 200
print("fine")
""")
    assert said.stdout == "fine\n", said.stderr
