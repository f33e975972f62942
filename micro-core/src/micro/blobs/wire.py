"""Blobs as protobuf messages and back; for both ends of the wire."""

from __future__ import annotations

from datetime import UTC, datetime

from micro.blobs.driver import Blob
from micro.proto import store_pb2 as pb


def info_out(blob: Blob) -> pb.BlobInfo:
    """Write what is known of a blob."""
    return pb.BlobInfo(
        key=blob.key,
        size=blob.size,
        etag=blob.etag,
        content_type=blob.content_type,
        public=blob.public,
        modified=round(blob.modified.timestamp() * 1000),
        sha256=blob.sha256,
    )


def info_in(info: pb.BlobInfo) -> Blob:
    """Read what is known of a blob."""
    modified = datetime.fromtimestamp(info.modified / 1000, UTC)
    return Blob(info.key, info.size, info.etag, info.content_type, info.public, modified, info.sha256)
