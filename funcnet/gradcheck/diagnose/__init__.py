"""Why a backward is wrong. One thing is judged here too, as it needs the graph: ``paths.without_cancelled``."""
