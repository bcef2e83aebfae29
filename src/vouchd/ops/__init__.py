"""What running a service needs besides its function: metrics, logs, audit, the serving report."""
