"""Features of the coming move, and a trained linear head on them; see README.md."""
