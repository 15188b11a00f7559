"""Weighted consensus price."""
