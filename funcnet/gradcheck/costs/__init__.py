"""What a derivation costs, beside autodiff of its forward and beside ``jax.checkpoint`` of it."""
