"""One module per kind of artifact: it owns columns, dtypes, units, reading and writing."""
