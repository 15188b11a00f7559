"""Policies that come with Schwabot. Each is an example of how to write one."""

NAMES = ("lead_lag", "mean_reversion", "quote_guard", "threshold", "timed_execution")
