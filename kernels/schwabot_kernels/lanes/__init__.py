"""From evidence to voltage lanes."""
