"""Whether the backward is right: the reference, the comparison, the laws, kinks, arithmetic."""
