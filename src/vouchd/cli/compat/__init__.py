"""Commands of the Certificate System under their own names: OCSPClient, PKCS12Export."""
