"""h2spec, the conformance tests of HTTP/2 and HPACK, against our own listener.

What it reports as failed must be what `h2spec_accepted.json` lists, with a reason for each; `always` is false where it
depends on whether our answer or its next frame is first.
"""

import asyncio
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from micro.rpc.nghttp2 import Nghttp2Transport

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]  # the first run builds it

ACCEPTED = json.loads(Path(__file__).with_name("h2spec_accepted.json").read_text())


async def test_h2spec_fails_only_where_we_know_why(tools, service, tmp_path):
    listener = Nghttp2Transport().listener(service)
    host, _, port = (await listener.start("127.0.0.1:0")).rpartition(":")
    report = tmp_path / "report.xml"
    h2spec = await asyncio.create_subprocess_exec(
        tools / "h2spec", "--host", host, "--port", port, "--timeout", "1", "--junit-report", report,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(120):
        said, _ = await h2spec.communicate()
    await listener.close()
    assert report.exists(), said.decode()
    ran, failed = outcomes(report)
    assert ran > 140
    assert set(failed) - set(ACCEPTED) == set(), said.decode()
    assert {name for name, known in ACCEPTED.items() if known["always"]} - set(failed) == set(), "these pass now"


def outcomes(report: Path) -> tuple[int, list[str]]:
    """Give how many cases ran, and the names of those that failed."""
    cases = ET.parse(report).getroot().findall(".//testcase")
    failed = [
        f"{case.get('package')}: {re.sub(r'^[0-9]+: *', '', case.get('classname') or '')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return len(cases), failed
