"""The immutable, memory-mapped revocation index that the accepting process writes and the workers read."""
