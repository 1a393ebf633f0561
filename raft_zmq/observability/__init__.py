"""What a node tells people and the judge: JSON log lines, metrics, health."""
