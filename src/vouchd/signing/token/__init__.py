"""Keys on tokens (PKCS #11): found, proved, used by processes of their own, made."""
