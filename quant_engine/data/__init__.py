"""Market data: providers, quality rules, identity, panels, universes, cache and reconciliation."""
