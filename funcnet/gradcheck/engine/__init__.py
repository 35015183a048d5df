"""All that touches the internals of JAX: leaves, jaxprs, widening, compiling."""
