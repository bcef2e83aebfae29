"""Keys that sign OCSP responses: made, kept encrypted, read back and used."""
