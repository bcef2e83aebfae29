"""Keys that sign OCSP responses: made, kept encrypted or on a token, read back and used."""
