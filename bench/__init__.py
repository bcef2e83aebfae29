"""The benchmarks: `make bench` prints every figure beside its target, measured in one run."""
