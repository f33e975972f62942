"""Archives are sources, when they hold what a source may: by the same rules as uploads."""

import io
import stat
import tarfile
import zipfile

import pytest

from micro import limits
from micro.errors import InvalidArgument
from micro.runtime.archives import folder_of, name_of


def zipped(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def tarred(path, *members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def special(name, mode):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tgz", ".tar", ".TAR.GZ", ".ZIP"])
@pytest.mark.parametrize("inside", ["", "hello-1.0/"])
def test_an_archive_is_what_it_holds_with_or_without_a_folder_around(tmp_path, ending, inside):
    path = tmp_path / f"hello{ending}"
    make = zipped if ending.lower() == ".zip" else tarred
    options = {"mode": "w"} if ending == ".tar" else {}
    make(path, (f"{inside}main.py", b"print()"), (f"{inside}pkg/a.py", b""), **options)
    assert name_of(path) == "hello"
    with folder_of(path) as folder:
        assert contents(folder) == {"main.py": b"print()", "pkg/a.py": b""}
    assert not folder.exists()


def test_a_folder_is_itself_and_other_files_are_no_archives(tmp_path):
    with folder_of(tmp_path) as folder:
        assert folder == tmp_path
    assert name_of(tmp_path / "main.py") == ""
    assert name_of(tmp_path / "a.b-2.tar.gz") == "a.b-2"


def test_a_zip_keeps_what_may_be_executed(tmp_path):
    path = zipped(tmp_path / "a.zip", (special("run.sh", stat.S_IFREG | 0o4755), b"x"), ("main.py", b""))
    with folder_of(path) as folder:
        assert (folder / "run.sh").stat().st_mode & 0o7777 == 0o700
        assert (folder / "main.py").stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("a/../../evil", b"x")],
        [("/etc/evil", b"x")],
        [("C:/evil", b"x")],
        [("a\\b", b"x")],
        [(special("link", stat.S_IFLNK | 0o777), b"/etc"), ("link/evil", b"x")],
        [(special("pipe", stat.S_IFIFO | 0o600), b"")],
        [("a", b"x"), ("a/b", b"y")],
        [("a", b"x"), ("./a", b"y")],
    ],
)
def test_a_zip_that_would_reach_outside_is_refused(tmp_path, members):
    path = zipped(tmp_path / "evil.zip", *members)
    with pytest.raises(InvalidArgument, match="the source"), folder_of(path):
        pass
    assert [child.name for child in tmp_path.iterdir()] == ["evil.zip"]


def test_a_zip_with_too_much_in_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UPLOAD", 10_000)
    monkeypatch.setattr(limits, "UPLOAD_MEMBERS", 3)
    big = zipped(tmp_path / "big.zip", ("a", bytes(20_000)))
    many = zipped(tmp_path / "many.zip", *((str(number), b"") for number in range(4)))
    for path in (big, many):
        with pytest.raises(InvalidArgument, match="more than"), folder_of(path):
            pass


def test_a_zip_that_lies_of_its_size_is_refused(tmp_path):
    path = zipped(tmp_path / "lies.zip", ("a", bytes(20_000)))
    data = path.read_bytes()
    path.write_bytes(data.replace((20_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(InvalidArgument, match="not a whole zip"), folder_of(path):
        pass


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar"])
def test_what_is_no_archive_is_refused_in_words(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"no archive" * 100)
    with pytest.raises(InvalidArgument, match="the source is not a whole"), folder_of(path):
        pass
