"""Where results go. Sinks read records only; heavy libraries are imported when a sink opens."""
