"""What a node tells people and the judge: JSON log lines, metrics, health.

`log.EventLog` writes the events of core/events.py and `events` (docs/log-events.md), `metrics.Metrics` gathers figures
for Prometheus, `http.HttpServer` serves /livez, /readyz, /metrics and /status.
"""
