"""Taking the place of another program: a Certificate System's settings, keys, CAs, CRLs and users taken over."""
