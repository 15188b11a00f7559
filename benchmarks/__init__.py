"""How fast, how lean: one file per question, each beside its peers. ``python -m benchmarks [names] [--quick]``."""
