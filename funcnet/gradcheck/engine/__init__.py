"""What touches the internals of JAX: leaves, jaxprs, widening, compiling."""
