"""Ticks as tensors, and where they live."""
