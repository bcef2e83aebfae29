"""The audit log: chained and signed; written, proved, read."""
