"""vouchd: an online certificate status manager (OCSP responder, RFC 6960)."""

__version__ = "0.1.0"
