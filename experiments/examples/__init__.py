"""The worked examples of the notes, and two from elsewhere: each as published, beside what funcnet computes.

The notes are five introductions to neural networks "from scratch", numbered 000 to 004, that this project set out from;
an item is the number of a note with a letter. What others of these experiments show by training has no row here.
"""

from . import elsewhere, note_000, note_001, note_002, note_003, note_004
from .worked import Example

EXAMPLES: list[Example] = [
    value
    for module in (note_000, note_001, note_002, note_003, note_004, elsewhere)
    for value in vars(module).values()
    if type(value) is Example
]
