"""The agent pages: what people see of an instance in a browser."""
