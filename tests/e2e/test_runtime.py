"""Running services on a server as users start it: from archives, several at once, and words for what is not there."""

import itertools
import json
import shutil
import subprocess
import time
import zipfile

import pytest

from micro.testing.platform import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]
TICK = "import time\nwhile True:\n    print(time.time(), flush=True)\n    time.sleep(0.13)\n"
KNOWN = 0.1  # seconds: to a twentieth, and what a busy machine adds


def source(tmp_path, name, text):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "main.py").write_text(text)
    return folder


@pytest.mark.parametrize(("kind", "ending"), [("gztar", ".tar.gz"), ("zip", ".zip")])
def test_an_archive_runs_under_its_name(platform, tmp_path, kind, ending):
    name = f"packed-{kind}"
    source(tmp_path, name, "print('up', flush=True)\nimport time; time.sleep(600)\n")
    archive = shutil.make_archive(str(tmp_path / name), kind, tmp_path, name)
    platform.micro("run", archive)
    until(lambda: " running " in platform.micro("status", name), what="the service running")
    assert archive.endswith(ending)
    assert archive in platform.micro("status", name)
    assert platform.micro("logs", name) == "up\n"
    platform.micro("update", archive)
    platform.micro("kill", name)


def test_an_archive_that_reaches_outside_is_refused(platform, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("../evil", "x")
    said = platform.micro("run", str(tmp_path / "evil.zip"), code=1)
    assert "Cannot use evil.zip: the source has a member named '../evil'" in said
    (tmp_path / "other.rar").write_text("x")
    assert "archives end with .tar.gz" in platform.micro("run", str(tmp_path / "other.rar"), code=1)


def test_an_update_of_what_does_not_run_says_so_and_uploads_nothing(platform, tmp_path):
    folder = source(tmp_path, "never", "")
    said = platform.micro("update", str(folder), "--name", "neverran", code=1)
    assert said.strip() == f'Service "neverran" is not running; start it with: micro run {folder} --name neverran'
    assert not list((platform.data / "runtime").glob("*/uploads/neverran*"))


def test_limits_hold_and_odd_ones_are_refused_before_anything_is_uploaded(platform, tmp_path):
    text = "import resource, time\nprint(resource.getrlimit(resource.RLIMIT_NOFILE)[1], flush=True)\ntime.sleep(600)\n"
    folder = source(tmp_path, "limited", text)
    for odd, words in (
        ("disk=3", "'disk' is none of memory, cpu, files, processes"),
        ("files=many", "files='many' is not a number"),
        ("files=-1", "files='-1' is not a number"),
        ("files", "is not NAME=value"),
    ):
        assert words in platform.micro("run", str(folder), "--limits", odd, code=1)
    assert not list((platform.data / "runtime").glob("*/uploads/limited*"))
    platform.run(folder, "--limits", "files=77,memory=200")
    until(lambda: platform.micro("logs", "limited"), what="what it says")
    assert platform.micro("logs", "limited") == "77\n"
    platform.micro("kill", "limited")


def ordered(lines):
    """Whether the times that were printed rise, as far as is known."""
    times = [float(line) for line in lines]
    return all(after > before - KNOWN for before, after in itertools.pairwise(times))


def test_the_lines_of_several_instances_come_in_the_order_of_time_with_their_stream(platform, tmp_path):
    platform.run(source(tmp_path, "tick", TICK), "-i", "3")
    until(lambda: len(platform.micro("logs", "tick", "-n", "0").splitlines()) > 60, what="some lines")
    lines = platform.micro("logs", "tick", "-n", "40").splitlines()
    assert len(lines) == 40
    assert ordered(lines)
    follow = subprocess.Popen(
        [platform.launcher, "logs", "-f", "-n", "5", "tick"], env=platform.env, stdout=subprocess.PIPE, text=True
    )
    time.sleep(3)
    follow.terminate()
    followed = follow.communicate()[0].splitlines()[:-1]  # the last may be cut
    assert len(followed) > 40
    assert ordered(followed)
    records = [json.loads(line) for line in platform.micro("logs", "tick", "-n", "30", "-o", "json").splitlines()]
    assert {record["Metadata"]["stream"] for record in records} == {f"tick@latest.{number}" for number in range(3)}
    platform.micro("kill", "tick")
