"""What the members of a set ask each other over the agent port."""
