"""What trading on a recorded market would have come to: the market as arrays, accounts in integers, reports."""
