"""The event-time store: what happened, when it could be known, and what was known at a moment."""
