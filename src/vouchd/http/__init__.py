"""The processes and ports: OCSP over HTTP, the manager, health and metrics."""
