"""Fuzz targets over everything that reads bytes of others; `make fuzz` runs them guided by coverage."""
