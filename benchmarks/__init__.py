"""Speed of rollouts, fine-tuning and sweeps beside what one would use instead: `python -m benchmarks.rollouts` etc.

Peers are in requirements-benchmarks.txt; the tables are in docs/performance.md.
"""
