"""Public recordings into the store: one module per archive, each with the traps it is known for."""
