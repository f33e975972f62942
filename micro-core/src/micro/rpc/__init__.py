"""gRPC calls: the transport's interface and its drivers, dispatch to handlers, channels to nodes."""
