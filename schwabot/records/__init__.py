"""Frozen dataclasses that pass between the parts. No logic, no torch."""
