"""Alerts: what is wrong with the instance, said once when it begins and once when it ends, to whoever has to know."""
