"""The lab's client and judge: scenario, workload, benchmark, verification, report."""
