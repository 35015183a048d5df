"""Links out of the site into the repository, such as ``../funcnet/ops``: on the site they are text, in code's type.

The pages are read on GitHub too, where such a link leads to the source.
"""


def setup(app):
    return {"parallel_read_safe": True}
