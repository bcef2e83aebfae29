"""The security domain: registry of master and clones, one-time join tokens; stands on the ports alone."""
