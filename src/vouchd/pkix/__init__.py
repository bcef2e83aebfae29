"""Bytes <-> RFC objects: DER, OCSP, CRLs, certificates, names, signatures, PKCS #12; no I/O, no clock, no logging."""
