"""Kernels with hand-written backwards, to start from. No rules of funcnet: those are plain JAX, and run anywhere."""
