"""The exercises, each with its solution: a learner gets the file without the body of the backward."""
