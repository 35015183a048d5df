"""What is wrong: paths, patterns, and the words for them."""
