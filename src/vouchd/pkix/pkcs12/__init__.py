"""PKCS #12 files (RFC 7292): encryption by password, reading, writing."""
