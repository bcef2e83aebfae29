"""THE SET: who is a member, how a clone is made, filled and kept equal, how the master role moves, what proves it."""
