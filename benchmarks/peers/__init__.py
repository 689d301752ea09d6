"""What a user would otherwise run: loops over `nn.Conv`, JAX with scan and vmap, TensorFlow."""
