"""CS.cfg: every key declared once, read, checked and documented from its declaration."""
