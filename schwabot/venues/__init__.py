"""Venues that are not at the other end of a network."""
