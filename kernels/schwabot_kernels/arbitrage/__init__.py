"""Arbitrage windows, locked and against the usual basis."""
