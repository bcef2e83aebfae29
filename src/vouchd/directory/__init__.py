"""Our own directory server: connection, schema, set-up, replication and its health (389 Directory Server)."""
