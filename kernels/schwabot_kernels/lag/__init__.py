"""Cost of acting late, expected and realised."""
