"""`vouchd ca`: the certificate manager, and the CAs that an instance answers for."""
