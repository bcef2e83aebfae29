"""The OCSP client: ask, receive, verify. What the command line, clone verification and self tests call."""
