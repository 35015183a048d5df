"""``funcnet sample RUN``: text from a trained GPT."""

import argparse
from typing import Any

from .common import CommandError, add_run, guarded, load, number


def add_sample(subparsers: Any) -> None:
    """Adds ``sample`` to the subcommands of ``funcnet``."""
    command = subparsers.add_parser("sample", help="write text with a trained GPT", description="Continues a prompt.")
    command.set_defaults(run=sample)
    add_run(command)
    command.add_argument("--prompt", default="\n", metavar="TEXT", help="the text to continue (default: a new line)")
    command.add_argument(
        "--length", type=number(1, most=1 << 20), default=400, metavar="N", help="bytes (default: 400)"
    )
    command.add_argument(
        "--temperature", type=number(0, float), default=0.8, metavar="T",
        help="1 draws as the network says, 0 takes the likeliest byte (default: 0.8)",
    )  # fmt: skip
    command.add_argument("--top-k", type=number(1, most=256), metavar="K", help="draw of the K likeliest bytes alone")
    command.add_argument("--seed", type=number(0, most=2**32 - 1), default=0, metavar="N", help="default: 0")


@guarded
def sample(arguments: argparse.Namespace) -> None:
    import jax

    from ..data.text import printable
    from ..models import GPTConfig, Text, generate_bytes

    model = load(arguments)
    if model.spec.model != "gpt" or not isinstance(model.spec.inputs, Text):
        raise CommandError(f"{arguments.where} holds the model {model.spec.model}; only a GPT on bytes writes text")
    prompt = arguments.prompt.encode("utf-8", "surrogateescape")
    if not prompt:
        raise CommandError("--prompt has at least one byte")
    config = GPTConfig(**model.spec.settings)
    if config.context < 2:
        raise CommandError(f"its context of {config.context} byte leaves no room to write in")
    key, settings = jax.random.key(arguments.seed), {"temperature": arguments.temperature, "top_k": arguments.top_k}
    print(printable(generate_bytes(config, model.params, prompt, arguments.length, key, **settings)))
