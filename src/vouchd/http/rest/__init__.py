"""The REST API of the agent port: one table of operations, and the OpenAPI document that is made from it."""
