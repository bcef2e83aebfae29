"""The OCSP port of one worker: connections, reading, caching, the signing queue."""
