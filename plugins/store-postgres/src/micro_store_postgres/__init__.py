"""Micro's store on PostgreSQL."""

from micro_store_postgres.store import PostgresSettings, PostgresStore

__all__ = ["PostgresSettings", "PostgresStore"]
