"""Brokers: who is given a policy's orders."""
