"""Dashboard and HTTP API: a process of its own that is fed with what a run's StepRecords say.

run ─▶ ServerSink (link) ─▶ pipe ─▶ Hub ─▶ HTTP API, live events, page, /metrics
run ◀─ actions ◀──────────── pipe ◀─ control
"""
