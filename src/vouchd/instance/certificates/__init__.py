"""The instance's own certificates: places, requests, installing, issuing, backup, rehearsal."""
