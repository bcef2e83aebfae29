"""The self tests of an instance: keys, host, canary answers, and their results."""
