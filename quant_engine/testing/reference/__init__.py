"""Reference cases: published and recomputed numbers that our functions have to return.

A folder of JSON files holds cases (topic, name, inputs, expected values, tolerance). One table of
adapters says which of our functions gives which expected value. ``python -m
quant_engine.testing.reference FOLDER`` runs every case and prints, per topic, what agreed.
"""
