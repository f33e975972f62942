"""Files under keys: streams of bytes, visible whole or not at all."""

TYPE_CHECKING = False

if TYPE_CHECKING:
    from micro.blobs.api import Blobs as Blobs
    from micro.blobs.driver import Blob as Blob
    from micro.blobs.driver import BlobsDriver as BlobsDriver
    from micro.blobs.face import delete as delete
    from micro.blobs.face import download as download
    from micro.blobs.face import list as list
    from micro.blobs.face import open as open
    from micro.blobs.face import read as read
    from micro.blobs.face import stat as stat
    from micro.blobs.face import url as url
    from micro.blobs.face import write as write
else:
    from micro._lazy import lazy

    _FACE = ("delete", "download", "list", "open", "read", "stat", "url", "write")
    __getattr__, __dir__, __all__ = lazy(
        __name__, {"Blobs": "api", "Blob": "driver", "BlobsDriver": "driver"} | dict.fromkeys(_FACE, "face")
    )
