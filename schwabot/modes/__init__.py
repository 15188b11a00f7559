"""What ``python -m schwabot.run mode=...`` can do, one file per mode."""
