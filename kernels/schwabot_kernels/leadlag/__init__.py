"""Lead-lag of two streams that tick at times of their own."""
