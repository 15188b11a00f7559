"""Orders against a recorded market: what a policy asks for, and what the exchange makes of it. See README.md."""
