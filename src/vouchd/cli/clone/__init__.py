"""`vouchd clone`: thin verbs over `cloning`."""
