"""The small certificate manager: issues, revokes, makes CRLs and publishes them (labs, demos, tests, small sites)."""
