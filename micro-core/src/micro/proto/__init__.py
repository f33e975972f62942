"""The wire's messages, generated from `proto/*.proto`; their descriptors are in `micro.proto._pool.POOL`."""
