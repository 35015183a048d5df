"""Whether a backward is right: form, reference, probes, laws, kinks, doubts, arithmetic, rows."""
