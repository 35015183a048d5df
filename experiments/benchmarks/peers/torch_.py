"""PyTorch on preloaded tensors, by the loop that its tutorials teach; eager, or with ``torch.compile``."""

import itertools

import numpy as np
import torch
from torch import nn

from .work import CONTEXT, GPT, HEIGHT, JUDGED, RATE, VOCABULARY, Peer, Work, parametric


def eager(work: Work) -> Peer:
    return _peer(work, compiled=False)


def compiled(work: Work) -> Peer:
    return _peer(work, compiled=True)


def _peer(work: Work, compiled: bool) -> Peer:
    model = _model(work)
    if work.network.copied:
        _copy(work, model)
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    cross_entropy = nn.CrossEntropyLoss()
    x = work.x.transpose(0, 3, 1, 2).copy() if work.x.ndim == 4 else work.x
    inputs = torch.tensor(x, dtype=torch.int64 if work.tokens else torch.float32)
    targets = torch.tensor(work.labels, dtype=torch.int64)

    def loss_of(rows):
        logits = forward(inputs[rows])
        return cross_entropy(logits.flatten(0, -2), targets[rows].flatten())

    def epoch(order: np.ndarray) -> None:
        for rows in torch.tensor(order, dtype=torch.int64):
            optimizer.zero_grad()
            loss_of(rows).backward()
            optimizer.step()

    def loss() -> float:
        with torch.no_grad():
            logits = model(inputs[:JUDGED])
            return float(cross_entropy(logits.flatten(0, -2), targets[:JUDGED].flatten()))

    return Peer(epoch, loss)


def _model(work: Work) -> nn.Module:
    if work.tokens:
        return Transformer()
    if len(work.network.shape) == 2:
        return Recurrent()
    if len(work.network.shape) == 1:
        sizes = (work.x.shape[1], *work.units)
        layers = [layer for i, o in itertools.pairwise(sizes) for layer in (nn.Linear(i, o), nn.ReLU())]
        return nn.Sequential(*layers[:-1])
    return _residual() if any("gamma" in layer for layer in parametric(work.params)) else _lenet()


def _lenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def _normalised(before: int, features: int, size: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, features, size, stride, size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(features)]


class Block(nn.Module):
    def __init__(self, before: int, features: int, stride: int):
        super().__init__()
        same = before == features
        self.short = nn.Identity() if same else nn.Sequential(*_normalised(before, features, 1, stride))
        first, second = _normalised(before, features, 3, stride), _normalised(features, features, 3, 1)
        self.f = nn.Sequential(*first, nn.ReLU(), *second)

    def forward(self, x):
        return torch.relu(self.short(x) + self.f(x))


def _residual() -> nn.Module:
    blocks = Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    return nn.Sequential(*_normalised(1, 16, 3, 1), nn.ReLU(), *blocks, *end)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(HEIGHT, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    """The modules that PyTorch has for it, with the table of tokens as the last weights too."""

    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, GPT.width), nn.Embedding(CONTEXT, GPT.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)
        settings = {"dropout": 0.0, "activation": nn.GELU("tanh"), "batch_first": True, "norm_first": True}
        layer = nn.TransformerEncoderLayer(GPT.width, GPT.heads, 4 * GPT.width, **settings)
        self.blocks = nn.TransformerEncoder(layer, GPT.depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(GPT.width)
        self.register_buffer("later", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places.weight
        return self.norm(self.blocks(x, mask=self.later, is_causal=True)) @ self.tokens.weight.T


def _copy(work: Work, model: nn.Module) -> None:
    """Our weights into its modules: (O, I) for (I, O), and its images have their channels first."""
    modules = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.BatchNorm2d)]
    after_images = False
    with torch.no_grad():
        for module, ours in zip(modules, parametric(work.params), strict=True):
            if isinstance(module, nn.BatchNorm2d):
                weight, bias = ours["gamma"], ours["beta"]
            elif isinstance(module, nn.Conv2d):
                weight, bias, after_images = ours["w"].transpose(3, 2, 0, 1), ours.get("b"), True
            else:
                weight, bias = ours["w"].T, ours["b"]
                if after_images and len(ours["w"]) == 256:  # flattened images of 4 × 4 × 16
                    weight = ours["w"].reshape(4, 4, 16, -1).transpose(3, 2, 0, 1).reshape(weight.shape)
            module.weight.copy_(torch.tensor(np.ascontiguousarray(weight)))
            if bias is not None:
                module.bias.copy_(torch.tensor(bias))
