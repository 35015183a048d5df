"""Wrong local derivatives that people write."""
