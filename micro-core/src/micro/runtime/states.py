"""What a service is doing, by the wire's numbers; apart from the driver, because `micro status` needs nothing else of it."""

UNKNOWN, PENDING, BUILDING, STARTING, RUNNING, STOPPING, STOPPED, ERROR = NUMBERS = range(8)
WORDS = ("unknown", "pending", "building", "starting", "running", "stopping", "stopped", "error")
