"""The root folder of an image: this interpreter, what micro needs, and a shell. Blocking; for a thread."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import micro

DEPENDENCIES = "/deps"  # where a service's own packages are, which win
TOOLS = ("sh", "cat", "env", "head", "ls", "sleep", "timeout", "tr", "true")  # to look inside, and for scripts
LEFT_OUT = frozenset(
    {
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "lib2to3",
        "ensurepip",
        "pydoc_data",
        "site-packages",
        "dist-packages",
    }
)
NEEDLESS = (".a", ".opt-1.pyc", ".opt-2.pyc")
FOLDERS = ("app", "deps", "dev", "etc", "proc", "sys", "tmp")
TEXTS = {
    "etc/passwd": "root:x:0:0::/:/bin/sh\nmicro:x:1000:1000::/tmp:/bin/sh\n",
    "etc/group": "root:x:0:\nmicro:x:1000:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
COPIED = ("/etc/ld.so.cache", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/openssl.cnf")
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")

Members = dict[str, Path]  # by their names in the image, without the first slash


def members() -> Members:
    """Find the files of the root folder."""
    executable = _executable()
    stdlib = Path(sysconfig.get_path("stdlib"))
    shared = Path(sysconfig.get_config_var("DESTSHARED") or stdlib)
    found: Members = {_name(executable): executable, **tools()}
    found |= {_name(path): path for folder in (stdlib, shared) for path in _walk(folder)}
    site = _name(_site(executable))
    found |= {f"{site}/{inside}": path for inside, path in _packages("micro-core")}
    found |= {_name(path): path for path in map(Path, COPIED) if path.is_file()}
    for library in _libraries([executable, *(path for path in found.values() if ".so" in path.name)]):
        found.setdefault(_name(library), library)
    return found


def tools() -> Members:
    """Find a shell and what it is little without, with their libraries."""
    found = {f"bin/{tool}": Path(where).resolve() for tool in TOOLS if (where := shutil.which(tool))}
    return found | {_name(path): path for path in _libraries(list(found.values()))}


def fingerprint(found: Members) -> str:
    """Give what tells one root folder from another."""
    known = hashlib.blake2s(digest_size=8)
    for name, path in sorted(found.items()):
        facts = path.stat()
        known.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    known.update(repr((sorted(TEXTS.items()), FOLDERS)).encode())
    return known.hexdigest()


def write(found: Members, file: IO[bytes]) -> None:
    """Write the root folder as a tar."""
    executable = _executable()
    site = _name(_site(executable))
    texts = TEXTS | {f"{site}/micro-dependencies.pth": f"import sys; sys.path.insert(0, {DEPENDENCIES!r})\n"}
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in sorted({*FOLDERS, *_parents([*found, *texts])}):
            tar.addfile(_member(folder, tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755))
        for name in ("python", "python3"):
            link = _member(f"usr/local/bin/{name}", tarfile.SYMTYPE, 0o777)
            link.linkname = str(executable)
            tar.addfile(link)
        for name, text in texts.items():
            member = _member(name, tarfile.REGTYPE, 0o644)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        for name, path in found.items():
            add(tar, name, path)


def add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    """Add a file as everybody may read it, whoever may here."""
    facts = path.stat()
    member = _member(name, tarfile.REGTYPE, 0o755 if facts.st_mode & stat.S_IXUSR else 0o644)
    member.size, member.mtime = facts.st_size, int(facts.st_mtime)
    with path.open("rb") as content:
        tar.addfile(member, content)


def add_tree(tar: tarfile.TarFile, name: str, folder: Path) -> None:
    """Add the files of a folder, but for links, and the folders they are in."""
    tar.addfile(_member(name, tarfile.DIRTYPE, 0o755))
    for path in sorted(folder.rglob("*")):
        inside = f"{name}/{path.relative_to(folder)}"
        if path.is_dir() and not path.is_symlink():
            tar.addfile(_member(inside, tarfile.DIRTYPE, 0o755))
        elif path.is_file() and not path.is_symlink():
            add(tar, inside, path)


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = kind, mode
    return member


def _executable() -> Path:
    """Give the interpreter itself, not an environment's link to it."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _name(path: Path) -> str:
    return str(path).lstrip("/")


def _parents(names: Iterable[str]) -> set[str]:
    return {str(parent) for name in (*names, "usr/local/bin/python") for parent in Path(name).parents if parent.name}


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith("config-")]
        yield from (
            Path(where, name) for name in files if not name.endswith(NEEDLESS) and not name.startswith("_tkinter.")
        )


def _site(executable: Path) -> Path:
    """Ask the interpreter itself where it finds packages: Debian's is elsewhere than others'."""
    asked = [str(executable), "-I", "-c", "import site; print(site.getsitepackages()[0])"]
    return Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())


def _packages(root: str) -> Iterator[tuple[str, Path]]:
    """Give the files of a distribution and of all that it requires, by their places among packages."""
    package = Path(micro.__path__[0])
    for path in _walk(package):
        yield f"micro/{path.relative_to(package)}", path
    for dist in _closure(root):
        for file in dist.files or ():
            path = Path(str(dist.locate_file(file)))
            if file.parts[0] == ".." or file.suffix == ".pth" or file.parts[0].startswith(("_editable", "__editable")):
                continue
            if file.parts[0] == "micro" or not path.is_file():
                continue
            yield str(file), path
            if file.suffix == ".py":
                cached = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
                if cached.is_file():
                    yield str(Path(str(file)).parent / "__pycache__" / cached.name), cached


def _closure(root: str) -> list[importlib.metadata.Distribution]:
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            found[name] = dist = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # wanted elsewhere, or by an extra
        for wanted in dist.requires or ():
            match = _REQUIREMENT.match(wanted)
            if match and "extra ==" not in wanted:
                waiting.append(match[0])
    return list(found.values())


def _libraries(binaries: list[Path]) -> set[Path]:
    """Name the shared libraries that programs load, and those that the C library loads by itself."""
    said = subprocess.run(["ldd", *map(str, binaries)], check=False, capture_output=True, text=True).stdout
    found = {Path(match[1]) for match in map(_LIBRARY.search, said.splitlines()) if match}
    found = {path for path in found if "site-packages" not in path.parts and "dist-packages" not in path.parts}
    for path in list(found):
        if path.name.startswith("libc.so"):
            found |= {
                *path.parent.glob("libnss_dns*.so.*"),
                *path.parent.glob("libnss_files*.so.*"),
                *path.parent.glob("libresolv.so.*"),
            }
    return found
