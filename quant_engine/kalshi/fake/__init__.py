"""A fake exchange on this machine: seeded worlds with known truth, strict about signatures."""
