"""Governance: the trial ledger, gates as data, and the recorded life of every strategy.

What is asked of the market is counted (`ledger`), what comes back is judged by rules that are
data (`gates`), and what follows from a verdict is an immutable, signed record (`lifecycle`).
"""
