"""The house style of every picture: one colour for each role, and sizes that a README's width leaves legible."""

from typing import Any

from cycler import cycler

OURS = "#2b6cb0"
"""What is computed here: by funcnet, on held-out data, or right."""
TRAINING = "#dd8a1f"
"""On the data that are trained on."""
GRADIENT = "#c0392b"
"""Gradients and cotangents, and what flows back."""
FORWARD = "#4a5568"
"""What flows forward."""
WRONG = "#b5179e"
"""What is mistaken, or does not agree."""
PUBLISHED = "#1a202c"
"""What somebody else found; as a dashed line."""
PEER = "#a9b8c9"
"""Another framework, or another way."""
BOUND = "#dfe5ec"
"""What nobody can pass."""
AXIS = "#718096"
"""Lines to compare with: a diagonal, a median's spread."""
BOX, RIM = "#eef3f9", "#90a4bd"
"""A node of a graph, and its border."""
CLASSES = (OURS, TRAINING, "#2f855a", "#805ad5", "#00838f", "#b83280", "#6b4f2a", "#4a5568", "#9b9b1f", "#e07a5f")
"""Of classes, groups and whatever else has no role: in this order."""
SIGNED = "RdBu_r"
"""The colour map of numbers with a sign: red is positive, white nothing."""

PARAMETERS: Any = {
    "axes.prop_cycle": cycler(color=CLASSES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.titlesize": "x-large",
    "font.size": 11,
    "grid.alpha": 0.3,
    "legend.fontsize": "small",
    "legend.framealpha": 0.9,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "funcnet",  # the same picture has the same bytes
}
