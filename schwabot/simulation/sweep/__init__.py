"""Many parameter sets over one recorded market: ranges, search, tables, and guards against mistaking luck for skill."""
