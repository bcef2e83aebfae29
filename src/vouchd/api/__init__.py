"""Every operation of an instance, JSON in and JSON out: one table, its schemas, its OpenAPI document; no HTTP."""
