"""`micro server`: the supervisor, and what each core service's process does around its service."""
