"""What is known of the exchange: wire formats, signing, transport, client, books, recordings."""
