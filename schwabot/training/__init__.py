"""Meters: how good the ghost price is, what lateness costs, how far from the truth."""
