"""The five modules, the graph they make, and its live step."""
