"""`vouchd directory`: the directory server of an instance."""
