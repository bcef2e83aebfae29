"""Where CRLs are fetched from: bytes come back, nothing else happens here."""
