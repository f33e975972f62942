"""Micro's blobs in S3."""

from micro_blobs_s3.blobs import S3Blobs
from micro_blobs_s3.settings import S3Settings

__all__ = ["S3Blobs", "S3Settings"]
