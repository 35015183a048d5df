"""Thirty and more submissions beside one key, and what each must earn: right, wrong, in all styles, and hostile."""

from pathlib import Path
from typing import NamedTuple

KEY = '''\
import numpy as np
from jaxtyping import Float

POINTS = {"softmax.dx": 2}
Array = np.ndarray


def softmax_forward(x: Float[Array, "N K"]):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y


def softmax_backward(dy, cache):
    """dx = y (dy - <dy, y>)."""
    y = cache
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def dense_forward(x: Float[Array, "N D"], w: Float[Array, "D M"], b: Float[Array, "M"]):
    return x @ w + b, (x, w)
'''
SOFTMAX = """\
def softmax_forward(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y


def softmax_backward(dout, cache):
    y = cache
    return y * (dout - (dout * y).sum(axis=-1, keepdims=True))
"""
DENSE = """\
def dense_forward(x, w, b):
    return x @ w + b, (x, w)


def dense_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)
"""
RIGHT = f"import numpy as np\n\n\n{SOFTMAX}\n\n{DENSE}"
BODY = "    x, w = cache\n"
LAST = "    return dout @ w.T, x.T @ dout, dout.sum(axis=0)\n"
CLASSES = """\
import numpy as np


class Softmax:
    def forward(self, x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        self.y = e / e.sum(axis=-1, keepdims=True)
        return self.y

    def backward(self, dout):
        return self.y * (dout - (dout * self.y).sum(axis=-1, keepdims=True))


class Dense:
    def __init__(self, rows, columns):
        self.W = np.zeros((rows, columns))
        self.b = np.zeros(columns)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = self.x.T @ dout
        self.db = dout.sum(axis=0)
        return dout @ self.W.T
"""
IN_JAX = RIGHT.replace("import numpy as np", "import jax.numpy as jnp").replace("np.exp", "jnp.exp")
RULES = """\
import jax
import jax.numpy as jnp

@jax.custom_vjp
def softmax(x):
    return jax.nn.softmax(x)

softmax.defvjp(lambda x: (softmax(x),) * 2, lambda y, dy: (y * (dy - jnp.sum(dy * y, -1, keepdims=True)),))

def dense_fwd(x, w, b):
    return x @ w + b, (x, w)

def dense_bwd(residuals, dy):
    x, w = residuals
    return dy @ w.T, x.T @ dy, dy.sum(0)
"""
AUTODIFF = "    import jax\n    x, w = cache\n    return jax.vjp(lambda x, w, b: x @ w + b, x, w, dout[0])[1](dout)\n"
BY_NAME = """\
    import importlib
    jax = importlib.import_module("j" + "ax")
    x, w = cache
    return getattr(jax, "v" + "jp")(lambda x, w, b: x @ w + b, x, w, dout[0])[1](dout)
"""
DIFFERENCES = """\
    x, w = cache
    def slope(a, f, h=1e-6):
        d = np.zeros_like(a)
        for i in np.ndindex(a.shape):
            e = np.zeros_like(a); e[i] = h
            d[i] = ((f(a + e) - f(a - e)) * dout).sum() / (2 * h)
        return d
    return slope(x, lambda v: np.tanh(v @ w) * 0 + v @ w), slope(w, lambda v: x @ v), dout.sum(0)
"""
FORGED = """\
    import json, os, sys
    said = json.dumps({"student": "forged", "points": 5, "out_of": 5, "status": "graded"})
    print(said, file=sys.stderr)
    for fd in range(3, 64):
        try:
            os.write(fd, said.encode() * 99)
        except OSError:
            pass
"""
PATCHED = """\
import json, sys
import numpy
numpy.allclose = lambda *a, **k: True
numpy.testing.assert_allclose = lambda *a, **k: None
json.dumps = lambda *a, **k: "{}"
for module in list(sys.modules.values()):
    for name in ("check", "errors_in_units", "pack"):
        if hasattr(module, name):
            setattr(module, name, lambda *a, **k: True)
"""


def edited(*edits: tuple[str, str], of: str = RIGHT) -> str:
    """A file with each old text replaced, which must be there once."""
    for old, new in edits:
        assert of.count(old) == 1, old
        of = of.replace(old, new)
    return of


def instead(body: str) -> str:
    """The right file with another body of the backward of the dense layer."""
    return edited((BODY + LAST, body))


def first(line: str) -> str:
    """The right file with a line before the work of the same backward."""
    return edited((BODY, f"    {line}\n{BODY}"))


class Row(NamedTuple):
    """A submission, and what must be said of it: points of five, the status, and a text in the report."""

    name: str
    files: str | dict[str, str | Path]
    points: float
    status: str = "graded"
    told: str = ""


ROWS = (
    Row("right", RIGHT, 5),
    Row("classes", CLASSES, 5),
    Row("in_jax", IN_JAX, 5),
    Row("rules", RULES, 5),
    Row("two_files", {"a.py": f"import numpy as np\n{SOFTMAX}", "b.py": DENSE}, 5),
    Row("other_order", edited(("dense_backward(dout, cache)", "dense_backward(cache, dout)")), 5),
    Row("as_dict", edited((LAST, '    return {"dw": x.T @ dout, "db": dout.sum(0), "dx": dout @ w.T}\n')), 5),
    Row("prints", edited((BODY, f'    print("hello" * 9)\n{BODY}')), 5, told="hellohello"),
    Row("writes_in_place", edited((BODY, f"{BODY}    dout *= 1.0\n    w[:] = w\n")), 5),
    Row("uses_scipy", "import scipy.special\nimport numpy.testing\n" + RIGHT, 5),
    Row("lost_path", edited(("(dout - (dout * y).sum(axis=-1, keepdims=True))", "dout")), 4, told="path-lost"),
    Row("mean", edited(("dout.sum(axis=0)", "dout.mean(axis=0)")), 4, told="extra-mean-divisor"),
    Row("wrong_class", edited(("return dout @ self.W.T", "return -dout @ self.W.T"), of=CLASSES), 4, told="dx: wrong"),
    Row("zeros", edited(("dout @ w.T", "np.zeros_like(x)")), 4, told="dx: no gradient"),
    Row("other_forward", edited(("x @ w + b, (x", "2 * (x @ w + b), (x")), 5, told="another value"),
    Row("nan", edited(("dout @ w.T", "dout @ w.T * np.nan")), 4, told="dx: wrong"),
    Row("shape", edited(("dout.sum(axis=0)", "dout")), 4, told="db has shape"),
    Row("a_list", edited(("dout @ w.T", '[["a"]]')), 4, told="dx: wrong"),
    Row("two_of_three", edited((", dout.sum(axis=0)", "")), 2, "cannot be run", "returns 2 values; expected"),
    Row("unwritten", instead("    raise NotImplementedError\n"), 2, "cannot be run", "still to be written"),
    Row("raises", first("1 / 0"), 2, "cannot be run", "raises.py:20: ZeroDivisionError"),
    Row("one_task", f"import numpy as np\n{SOFTMAX}", 2, "not found", "there is no dense"),
    Row("half", f"import numpy as np\n{SOFTMAX}\n{DENSE.partition('def dense_b')[0]}", 2, "cannot be run", "beside it"),
    Row("syntax", RIGHT + "\ndef (\n", 0, "cannot be run", "SyntaxError"),
    Row("empty", "", 0, "not found", "there is no softmax"),
    Row("no_file", {"notes.txt": "mine"}, 0, "not read", "no Python files"),
    Row("link", {"answer.py": Path("key.py")}, 0, "not read", "is a link"),
    Row("steals_key", "import os\nexec(open(os.path.join(os.path.dirname(__file__), '../key.py')).read())", 0,
        "cannot be run", "key.py is not allowed"),
    Row("reads_memory", first('open(f"/proc/{__import__(\'os\').getppid()}/mem", "rb")'), 2, "cannot be run",
        "not allowed"),
    Row("imports_key", "from key import *", 0, "cannot be run", "No module named 'key'"),
    Row("loops", first("while True: pass"), 2, "timed out", "--timeout"),
    Row("loops_early", "while True: pass", 0, "timed out", "--timeout"),
    Row("sleeps", first("import time; time.sleep(999)"), 2, "timed out", "--timeout"),
    Row("swallows", first("while True:\n        try:\n            while True: pass\n        except: pass"), 2,
        "timed out", "--timeout"),
    Row("fork_bomb", first("import os\n    while True: os.fork()"), 2, "cannot be run", "os.fork is not allowed"),
    Row("runs_python", first("import subprocess, sys; subprocess.run([sys.executable])"), 2, "cannot be run",
        "not allowed"),
    Row("native", first("import ctypes; ctypes.CDLL(None)"), 2, "cannot be run", "ctypes.dlopen is not"),
    Row("memory", first("a = np.ones((1 << 20, 1 << 14))"), 2, "cannot be run", "MemoryError"),
    Row("writes", first('open("/tmp/funcnet-was-here", "w")'), 2, "cannot be run", "not allowed"),
    Row("fills_disk", first('open("big", "wb").write(b"0" * (1 << 28))'), 2, "cannot be run", "File too large"),
    Row("forks_inside", first("import subprocess; subprocess._fork_exec()"), 2, "cannot be run", "no processes"),
    Row("network", first("import socket; socket.create_connection((\"127.0.0.1\", 80))"), 2, "cannot be run",
        "not allowed"),
    Row("exits", first("raise SystemExit(0)"), 2, "cannot be run", "SystemExit"),
    Row("ends", first("import os; os._exit(0)"), 2, "crashed", "ended itself, with status 0"),
    Row("forges", edited((BODY, FORGED + BODY), ("dout @ w.T", "dout @ w.T * 2")), 2, "no answer", "more than 64 MiB"),
    Row("prints_report", edited((LAST, '    print(\'{"points": 5}\')\n    return 2 * dout, 2 * w, 0 * dout[0]\n')), 2,
        told="db: no gradient"),
    Row("patches", PATCHED + edited(("dout @ w.T", "dout @ w.T * 2")), 0, "no answer"),
    Row("prints_much", first('print("x" * (1 << 26))'), 2, "cannot be run", "File too large"),
    Row("huge_answer", edited(("dout @ w.T", "np.ones((1 << 12, 1 << 12))")), 2, "no answer", "more than 64 MiB"),
    Row("autodiff", instead(AUTODIFF), 2, "used autodiff", "calls JAX's autodiff"),
    Row("autodiff_by_name", instead(BY_NAME), 2, "used autodiff", "importlib"),
    Row("autodiff_of_softmax", edited(("    return y, y\n", "    return y, x\n"), ("    y = cache\n", ""), (
        "y * (dout - (dout * y).sum(axis=-1, keepdims=True))",
        "__import__('jax').jvp(__import__('jax').nn.softmax, (cache,), (dout,))[1]")), 3, "used autodiff", "autodiff"),
    Row("reloads", first("import importlib, jax._src.lax.lax as lax; importlib.reload(lax)"), 2, "cannot be run",
        "not loaded again"),
    Row("loads_again", first("import sys; sys.modules.pop('jax'); import jax"), 2, "cannot be run", "jax is not there"),
    Row("jets", first("import jax.experimental.jet"), 2, "cannot be run", "jet is not there"),
    Row("imports_torch", "import torch\n" + RIGHT, 0, "cannot be run", "torch is not there"),
    Row("imports_ours", "import funcnet\n" + RIGHT, 0, "cannot be run", "funcnet is not there"),
    Row("differences", instead(DIFFERENCES), 3, told="dx: wrong"),
    Row("complex_steps", first("step = 1e-20j"), 5, told="complex_steps.py:20: complex numbers"),
)  # fmt: skip


def write(rows: list[Row], folder: Path) -> tuple[Path, Path]:
    """Writes the key and the submissions; returns the folder of these and the key."""
    key, place = folder / "key.py", folder / "submissions"
    key.write_text(KEY, "utf-8")
    place.mkdir()
    for row in rows:
        if isinstance(row.files, str):
            (place / f"{row.name}.py").write_text(row.files, "utf-8")
            continue
        (place / row.name).mkdir()
        for name, content in row.files.items():
            if isinstance(content, Path):
                (place / row.name / name).symlink_to(folder / content)
            else:
                (place / row.name / name).write_text(content, "utf-8")
    return place, key


def differs(row: Row, student: dict) -> str:
    """In what a report is not what it must be; empty if in nothing."""
    lines = [line for task in student["tasks"] for line in task["said"]]
    text = "\n".join([*lines, *student["remarks"], *student["printed"]])
    if (student["points"], student["status"]) != (row.points, row.status):
        return f"{student['points']:g} points, {student['status']}; expected {row.points:g}, {row.status}\n{text}"
    return "" if row.told in text else f"{row.told!r} is not in\n{text}"
