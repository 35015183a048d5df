"""The trial: the subject, its arguments, the inputs drawn for it."""
