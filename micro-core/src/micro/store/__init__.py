"""Records in tables: read, write, scan, watch; atomic and conditional within a table."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro.store.api import Store as Store
    from micro.store.batches import Batch as Batch
    from micro.store.collections import Collection as Collection
    from micro.store.driver import Delete as Delete
    from micro.store.driver import Put as Put
    from micro.store.driver import Record as Record
    from micro.store.driver import StoreDriver as StoreDriver
    from micro.store.driver import Table as Table
    from micro.store.dump import Snapshot as Snapshot
    from micro.store.face import batch as batch
    from micro.store.face import collection as collection
    from micro.store.face import delete as delete
    from micro.store.face import get as get
    from micro.store.face import list as list
    from micro.store.face import read as read
    from micro.store.face import restore as restore
    from micro.store.face import scan as scan
    from micro.store.face import snapshot as snapshot
    from micro.store.face import table as table
    from micro.store.face import update as update
    from micro.store.face import watch as watch
    from micro.store.face import write as write
else:
    from micro._lazy import lazy

    _FACE = (
        "batch", "collection", "delete", "get", "list", "read", "restore", "scan", "snapshot", "table", "update", "watch",
        "write",
    )  # fmt: skip
    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "Batch": "batches",
            "Store": "api",
            "Collection": "collections",
            "Delete": "driver",
            "Put": "driver",
            "Record": "driver",
            "StoreDriver": "driver",
            "Table": "driver",
            "Snapshot": "dump",
        }
        | dict.fromkeys(_FACE, "face"),
    )
