"""As-of alignment of asynchronous streams."""
