"""PyTorch on preloaded tensors, by the loop that its tutorials teach; eager, or with ``torch.compile``."""

import itertools

import numpy as np
import torch
from torch import nn

from .work import Peer, Work, parametric


def eager(work: Work) -> Peer:
    return _peer(work, compiled=False)


def compiled(work: Work) -> Peer:
    return _peer(work, compiled=True)


def in_turn(work: Work) -> Peer:
    """The networks of an ensemble, one after another."""
    peers = [eager(work._replace(params=params, copies=1)) for params in _each(work)]

    def epoch(order: np.ndarray) -> None:
        for peer in peers:
            peer.epoch(order)

    return Peer(epoch, lambda x: np.stack([peer.logits(x) for peer in peers]))


def together(work: Work) -> Peer:
    """The networks of an ensemble by ``torch.func``, as its tutorial on ensembles teaches."""
    models = [_model(work) for _ in range(work.copies)]
    for model, params in zip(models, _each(work), strict=True):
        _copy(work._replace(params=params), model)
    base = _model(work).to("meta")
    params, buffers = torch.func.stack_module_state(models)
    inputs, targets = torch.tensor(work.x), torch.tensor(work.labels, dtype=torch.int64)

    def forward(params, buffers, x):
        return torch.func.functional_call(base, (params, buffers), (x,))

    def loss(params, buffers, x, labels):
        return nn.functional.cross_entropy(forward(params, buffers, x), labels)

    gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(0, 0, None, None))

    def epoch(order: np.ndarray) -> None:
        with torch.no_grad():
            for rows in torch.tensor(order, dtype=torch.int64):
                for name, grad in gradient(params, buffers, inputs[rows], targets[rows]).items():
                    params[name].sub_(grad, alpha=work.rate)

    def logits_of(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return torch.func.vmap(forward, in_dims=(0, 0, None))(params, buffers, torch.tensor(x)).numpy()

    return Peer(epoch, logits_of)


def _each(work: Work) -> list[tuple]:
    """The weights of each network of an ensemble."""
    layers = list(parametric(work.params))
    return [tuple({name: w[i] for name, w in layer.items()} for layer in layers) for i in range(work.copies)]


def _peer(work: Work, compiled: bool) -> Peer:
    model = _model(work)
    if work.copied:
        _copy(work, model)
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=work.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, work.decay) if work.decay else None
    cross_entropy = nn.CrossEntropyLoss()

    def tensor(x: np.ndarray) -> torch.Tensor:
        x = x.transpose(0, 3, 1, 2).copy() if x.ndim == 4 else x
        return torch.tensor(x, dtype=torch.int64 if work.tokens else torch.float32)

    inputs = tensor(work.x)
    targets = torch.tensor(work.labels, dtype=torch.int64)

    def loss_of(rows):
        logits = forward(inputs[rows])
        return cross_entropy(logits.flatten(0, -2), targets[rows].flatten())

    def epoch(order: np.ndarray) -> None:
        for rows in torch.tensor(order, dtype=torch.int64):
            optimizer.zero_grad()
            loss_of(rows).backward()
            optimizer.step()
            if schedule:
                schedule.step()

    def logits_of(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(tensor(x)).numpy()

    return Peer(epoch, logits_of)


def _model(work: Work) -> nn.Module:
    if work.tokens:
        return Transformer()
    if len(work.shape) == 2:
        return Recurrent(work.shape[1])
    if len(work.shape) == 1:
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
    def __init__(self, columns: int):
        super().__init__()
        self.lstm, self.out = nn.LSTM(columns, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    """The modules that PyTorch has for it, with the table of tokens as the last weights too."""

    def __init__(self):
        from .networks import CONTEXT, GPT, VOCABULARY  # here, as it imports funcnet

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
