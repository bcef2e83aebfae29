"""The TLS port of agents: who comes in, what is routed where."""
