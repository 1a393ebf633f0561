"""The benchmark of docs/performance.md: `python -m tests.performance`. Each row of its table is a module in rows/."""
