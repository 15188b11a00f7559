"""Compiled operations of Schwabot: for each a plain-torch reference, a CPU kernel and a ``torch.library`` op.

Nothing here imports ``schwabot``. Axis legend used throughout: N events, V streams, L latencies, T tables, b bits.
"""
