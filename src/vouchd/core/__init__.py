"""The protocol core: bytes and facts in, bytes and facts out; no I/O, no clock, no globals, no logging."""
