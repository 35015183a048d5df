"""What is tried: the subject, its arguments, the inputs drawn."""
