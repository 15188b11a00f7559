"""Kalman estimate of the efficient price."""
