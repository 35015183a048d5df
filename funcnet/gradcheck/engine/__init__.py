"""All that touches JAX's internals. (Of a custom_vjp, trial/subject.py reads fwd, bwd and nondiff_argnums.)"""
