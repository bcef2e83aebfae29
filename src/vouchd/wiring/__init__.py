"""The only place that names concrete classes: services, the manager, a worker, the agent port, the set."""
