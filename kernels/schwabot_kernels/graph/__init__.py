"""The whole module graph in one pass."""
