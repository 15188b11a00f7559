"""State hash, outcome tables and echo memory."""
