"""Event markets, a vertical of its own: exchange client, fake exchange, payoffs, distributions."""
