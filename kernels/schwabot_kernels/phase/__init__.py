"""Phase, drift and routing."""
