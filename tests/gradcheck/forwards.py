"""All forwards that mistakes are planted in, by name, each with the backward that is right."""

from funcnet.types import Rule
from tests.gradcheck import forwards_layers, forwards_others, forwards_pointwise, forwards_sequences

FORWARDS: dict[str, Rule] = {
    name: value
    for module in (forwards_pointwise, forwards_layers, forwards_sequences, forwards_others)
    for name, value in vars(module).items()
    if isinstance(value, Rule)
}
