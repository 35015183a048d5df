"""funcnet: neural networks as pure functions, with every backward pass derived by hand."""
