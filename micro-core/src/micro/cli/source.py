"""Sources as a person names them, on their way to the runtime."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import click

from micro import limits, names
from micro.cli import output
from micro.cli.framework import named
from micro.cli.session import NoServerError, Session
from micro.errors import InvalidArgument, Unavailable, Unimplemented
from micro.proto import runtime_pb2 as pb
from micro.runtime.archives import ENDINGS, folder_of, name_of
from micro.runtime.source import pack, pack_into

TRIES = 3  # times an upload is begun, or gone on with


def path_of(source: str) -> Path:
    """Give the folder or archive that a person means."""
    path = Path(source).expanduser()
    if path.is_file():
        if not name_of(path):
            also = f"; archives end with {', '.join(ENDINGS)}"
            raise click.UsageError(f"There is no folder {source!r} but a file; run the folder it is in{also}")
        return path.resolve()
    if not path.is_dir():
        looks_remote = "." in source.partition("/")[0] and "/" in source and not source.startswith(".")
        more = "; sources from git are not here yet, clone it and run the folder" if looks_remote else ""
        raise click.UsageError(f"There is no folder {source!r}{more}")
    return path.resolve()


def name_for(path: Path, name: str) -> str:
    """Give a service's name: what was said, else the folder's or the archive's."""
    if not name and not path.is_dir():
        name = name_of(path)
    return named(names.service, name or path.name)


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(folder_of(path))
        except InvalidArgument as err:
            raise click.ClickException(f"Cannot use {path.name}: {err.detail}") from err
        yield folder


def upload(here: Session, path: Path, name: str, version: str) -> str:
    """Pack a source and send it; gives its id."""
    service = pb.Service(name=name, version=version)
    spinner = output.Spinner(f"Uploading {path.name}")
    try:
        with _folder(path) as folder, tempfile.SpooledTemporaryFile(limits.MIB) as file:
            digest = pack_into(folder, file)
            for tries_left in reversed(range(TRIES)):
                try:
                    return _put(here, service, file, digest, spinner)
                except NoServerError:
                    raise
                except Unavailable:
                    if not tries_left:
                        raise
                    time.sleep(random.uniform(0.5, 1.0))
    except Unimplemented:  # a server that takes a source only whole
        return _whole(here, service, path, spinner)
    finally:
        spinner.done()
    raise AssertionError("the last try gives or raises")


def _put(here: Session, service: pb.Service, file: IO[bytes], digest: str, spinner: output.Spinner) -> str:
    """Send what the server has not yet of a packed source."""
    asked = pb.StatRequest(digest=digest, namespace=here.namespace)
    offset = here.core("runtime", "Source.Stat", asked, pb.StatResponse).size

    def requests() -> Iterator[pb.PutRequest]:
        yield pb.PutRequest(service=service, encoding="gzip", digest=digest, offset=offset, namespace=here.namespace)
        file.seek(offset)
        while chunk := file.read(limits.MIB):
            spinner.turn()
            yield pb.PutRequest(data=chunk)

    answers = here.core_stream("runtime", "Source.Put", requests(), pb.PutResponse)
    return list(answers)[-1].id


def _whole(here: Session, service: pb.Service, path: Path, spinner: output.Spinner) -> str:
    def requests() -> Iterator[pb.UploadRequest]:
        with _folder(path) as folder:
            for chunk in pack(folder):
                spinner.turn()
                yield pb.UploadRequest(service=service, data=chunk)

    answers = here.core_stream("runtime", "Source.Upload", requests(), pb.UploadResponse)
    return list(answers)[-1].id
