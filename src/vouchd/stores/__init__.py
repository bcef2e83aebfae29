"""Status stores: each keeps the contract of `core.ports.StatusStore` and returns facts, never DER of OCSP or HTTP."""
