"""Artifact store: what every run leaves behind, typed, hashed, and linked to what made it."""
