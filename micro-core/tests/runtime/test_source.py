"""Sources come from strangers: only files and folders with names that stay inside are unpacked."""

import gzip
import io
import tarfile

import pytest

from micro import limits
from micro.errors import InvalidArgument
from micro.runtime.source import pack, unpack


def archive(tmp_path, *members, zipped=False, cut=0):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    data = buffer.getvalue()
    data = data[: len(data) - cut] if cut else data
    path = tmp_path / "source.tar"
    path.write_bytes(gzip.compress(data) if zipped else data)
    return path


def special(name, kind, linkname=""):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = linkname
    return info


@pytest.mark.parametrize("zipped", [False, True])
def test_what_is_packed_comes_out_the_same(tmp_path, zipped):
    source = tmp_path / "source"
    (source / "pkg" / "__pycache__").mkdir(parents=True)
    (source / ".git").mkdir()
    (source / "main.py").write_text("print('été')")
    (source / "run.sh").write_text("#!/bin/sh")
    (source / "run.sh").chmod(0o755)
    (source / "pkg" / "a.py").write_text("")
    (source / "pkg" / "__pycache__" / "a.pyc").write_text("x")
    (source / ".git" / "config").write_text("x")
    (source / "secret.env").write_text("x")
    (source / ".microignore").write_text("# not for the platform\n*.env\n")
    (source / "outside").symlink_to("/etc/hostname")
    (source / "inside.py").symlink_to("main.py")
    data = b"".join(pack(source))
    tar = tmp_path / "packed.tar"
    tar.write_bytes(gzip.compress(data) if zipped else data)
    target = tmp_path / "target"
    target.mkdir()
    unpack(tar, target)
    found = sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())
    assert found == [".microignore", "inside.py", "main.py", "pkg/a.py", "run.sh"]
    assert (target / "main.py").read_text() == "print('été')"
    assert (target / "run.sh").stat().st_mode & 0o777 == 0o700
    assert (target / "main.py").stat().st_mode & 0o777 == 0o600
    assert not (target / "inside.py").is_symlink()


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("a/../../evil", b"x")],
        [("/etc/evil", b"x")],
        [("./x/../../y", b"x")],
        [("C:/evil", b"x")],
        [("a\\b", b"x")],
        [("n" * 5000, b"x")],
        [(special("link", tarfile.SYMTYPE, "/etc"), b""), ("link/evil", b"x")],
        [(special("hard", tarfile.LNKTYPE, "/etc/hostname"), b"")],
        [(special("pipe", tarfile.FIFOTYPE), b"")],
        [(special("device", tarfile.CHRTYPE), b"")],
        [("a", b"x"), ("a", b"y")],
        [("a", b"x"), ("a/b", b"y")],
        [("a/b", b"x"), ("a", b"y")],
        [("", b"x")],
    ],
    ids=[
        "up", "up-inside", "absolute", "round-about", "drive", "backslash", "long", "through-a-link", "hard-link", "pipe",
        "device", "twice", "file-as-folder", "folder-as-file", "nameless",
    ],
)  # fmt: skip
def test_a_member_that_could_leave_the_folder_is_refused(tmp_path, members):
    target = tmp_path / "target" / "inner"
    target.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidArgument, match="the source"):
        unpack(archive(tmp_path, *members), target)
    outside = [p for p in sorted(tmp_path.rglob("*")) if target not in p.parents and p != tmp_path / "source.tar"]
    assert outside == before


def header(kind, size, name="x"):
    info = special(name, kind)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (header(tarfile.XHDTYPE, 100 * limits.MIB) + bytes(100), "a header of"),
        (header(tarfile.GNUTYPE_LONGNAME, 100 * limits.MIB) + bytes(100), "a header of"),
        (header(tarfile.GNUTYPE_SPARSE, 0) + bytes(1024), "with holes"),
        (header(tarfile.XGLTYPE, 0) * 5000, "not a whole tar"),
        (header(tarfile.XHDTYPE, 512) + b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n".ljust(512, b"\0")
         + header(tarfile.REGTYPE, 512) + b"99999999\n" + b"0\n" * 500, "with holes"),
    ],
    ids=["extended", "long-name", "sparse", "chain", "sparse-in-words"],
)  # fmt: skip
def test_headers_that_would_fill_the_memory_are_refused(tmp_path, data, words):
    target = tmp_path / "target"
    target.mkdir()
    path = tmp_path / "source.tar"
    path.write_bytes(data)
    with pytest.raises(InvalidArgument, match=words):
        unpack(path, target)


def test_a_small_archive_of_endless_emptiness_is_read_no_further_than_a_source_is_long(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UPLOAD", 1000)
    monkeypatch.setattr(limits, "UPLOAD_MEMBERS", 2)
    target = tmp_path / "target"
    target.mkdir()
    path = tmp_path / "source.tar"
    path.write_bytes(gzip.compress(header(b"?", 500_000_000) + bytes(20_000_000)))
    with pytest.raises(InvalidArgument, match="more than"):
        unpack(path, target)


def test_a_tar_that_was_cut_or_is_none_is_refused(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(InvalidArgument):
        unpack(archive(tmp_path, ("a", b"x" * 5000), cut=6_000), target)
    for junk in (b"junk" * 1000, b"\x1f\x8b" + b"junk" * 100):
        path = tmp_path / "junk"
        path.write_bytes(junk)
        with pytest.raises(InvalidArgument):
            unpack(path, target)


def test_too_much_is_refused(tmp_path, monkeypatch):
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.setattr(limits, "UPLOAD", 1000)
    with pytest.raises(InvalidArgument, match="more than"):
        unpack(archive(tmp_path, ("a", b"x" * 1001)), target)
    monkeypatch.setattr(limits, "UPLOAD", 10**6)
    monkeypatch.setattr(limits, "UPLOAD_MEMBERS", 2)
    with pytest.raises(InvalidArgument, match="more than 2 members"):
        unpack(archive(tmp_path, ("b", b""), ("c", b""), ("d", b"")), target)
    source = tmp_path / "many"
    source.mkdir()
    for n in range(3):
        (source / str(n)).write_text("")
    with pytest.raises(InvalidArgument, match="more than 2 files"):
        list(pack(source))
