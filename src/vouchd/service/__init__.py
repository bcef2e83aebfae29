"""Use cases; they know the ports of `core.ports` only, so all of them run in memory in a test."""
