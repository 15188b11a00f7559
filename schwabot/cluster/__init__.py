"""Runs the shards of a sweep on other machines; imports nothing heavy until it is asked to."""
