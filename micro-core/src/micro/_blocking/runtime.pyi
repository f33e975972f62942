"""The types of micro.blocking.runtime, written by scripts/blocking.py."""

from collections.abc import Iterator
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from typing import Any
import builtins
from micro.runtime import Engine as Engine
from micro.runtime import Limits as Limits
from micro.runtime import LogLine as LogLine
from micro.runtime import Runtime as Runtime
from micro.runtime import RuntimeDriver as RuntimeDriver
from micro.runtime import Spec as Spec
from micro.runtime import Status as Status

def run(source: str | Path='', *, name: str='', **options: Any) -> Status:
    """Run a service: see Runtime.run."""
    ...

def update(source: str | Path='', *, name: str='', version: str='latest') -> None:
    """Replace a running service: see Runtime.update."""
    ...

def kill(name: str, version: str='latest') -> None:
    """Stop a service and forget it: see Runtime.kill."""
    ...

def status(name: str='', version: str='') -> builtins.list[Status]:
    """Say what the services are doing: see Runtime.status."""
    ...

def logs(name: str, *, version: str='latest', follow: bool=False, since: datetime | timedelta | None=None, count: int=0) -> Iterator[LogLine]:
    """Give a service's log lines: see Runtime.logs."""
    ...
