"""Import aiohttp as a server needs it.

Its client, which comes with it, reads all of the system's certificate authorities while it is imported: 90 ms and several
megabytes for something that the gateway never does. Import this before anything that imports aiohttp.
"""

from __future__ import annotations

import os

_FILE, _FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"


def _import() -> None:
    kept = {name: os.environ.get(name) for name in (_FILE, _FOLDER)}
    os.environ |= {_FILE: os.devnull, _FOLDER: os.devnull}
    try:
        import aiohttp  # noqa: F401
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_import()
