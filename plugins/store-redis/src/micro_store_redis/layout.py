"""Which Redis keys hold a table. All of one table share a hash tag, so that they live in one slot of a cluster.

micro:{db/table}:r:<key>  hash        v value, m metadata (JSON), n version, e expiry (ms); expires by itself
micro:{db/table}:i        sorted set  every key, all scores 0: in byte order
micro:{db/table}:x        sorted set  keys that expire, by when (ms of the server's clock)
micro:{db/table}:s        integer     the table's version; never reset
micro:{db/table}:w        stream      the last changes; an entry's id is its version
micro:dbs, micro:tables:<db>   sets   what was ever written to
"""

from __future__ import annotations

from micro.store.driver import Table

DATABASES = "micro:dbs"
_ESCAPED = frozenset("%/{}")


def base(table: Table) -> str:
    """Give what a table's keys begin with."""
    return f"micro:{{{escape(table.database)}/{escape(table.name)}}}"


def tables(database: str) -> str:
    """Give the key of a database's tables."""
    return f"micro:tables:{escape(database)}"


def escape(name: str) -> str:
    """Write a name so that no two give the same text, and none ends the hash tag."""
    return "".join(f"%{ord(c):02X}" if c in _ESCAPED or ord(c) < 0x20 else c for c in name)
