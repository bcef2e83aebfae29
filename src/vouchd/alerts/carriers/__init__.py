"""The ways alerts are carried, one a module, and the one table of them."""
