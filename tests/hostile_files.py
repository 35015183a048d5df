"""The files that ``tests.hostile`` gives to commands: broken Python, small saved runs, and what is no input at all."""

import os
import random
from pathlib import Path

import jax
import numpy as np

from funcnet import models
from funcnet.data.tables import Column

PAIR = "import jax.numpy as jnp\nfrom jaxtyping import Array, Float\nfrom funcnet.types import Rule\n" \
       "def f_fwd(x: Float[Array, '*B K']):\n    return jnp.sin(x), x\n"  # fmt: skip
BROKEN = {
    "all_is_a_number": "__all__ = 5",
    "all_holds_numbers": "__all__ = [5, None, 'x']",
    "all_is_recursive": "__all__ = []\n__all__.append(__all__)",
    "exits": "raise SystemExit",
    "exits_with_3": "import sys; sys.exit(3)",
    "interrupts": "raise KeyboardInterrupt",
    "raises_a_base_exception": "class E(BaseException): pass\nraise E('no')",
    "generator_exit": "raise GeneratorExit",
    "syntax": "def f(:",
    "indentation": "if 1:\nx = 2",
    "tabs": "if 1:\n\tx = 2\n        y = 3",
    "nul": "x = 1\0",
    "latin": b"x = '\xff'",
    "wrong_encoding": b"# -*- coding: no-such -*-\nx = 1",
    "deep": "(" * 5000 + ")" * 5000,
    "recursion": "def f(): return f()\nf()",
    "imports_nothing": "import no_such_module_at_all",
    "imports_above": "from .. import x",
    "raises_with_lines": "raise ValueError('one\\ntwo\\nthree')",
    "raises_without_text": "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
    "empty": "",
    "rule_of_numbers": PAIR + "rule = Rule(5, 6)",
    "rule_of_nothing": PAIR + "rule = Rule(None, None)",
    "rule_is_a_class": PAIR + "class f: pass\nrule = Rule(f, f)",
    "fwd_returns_no_pair": PAIR + "rule = Rule(lambda x: x, lambda r, dy: (dy,))",
    "bwd_returns_nothing": PAIR + "def f_bwd(r, dy): pass",
    "bwd_returns_text": PAIR + "def f_bwd(r, dy): return ('x',)",
    "bwd_returns_itself": PAIR + "def f_bwd(r, dy):\n    a = []; a.append(a); return a",
    "bwd_raises": PAIR + "def f_bwd(r, dy): raise ValueError('one\\ntwo')",
    "bwd_raises_a_base_exception": PAIR + "class E(BaseException): pass\ndef f_bwd(r, dy): raise E('no')",
    "bwd_exits": PAIR + "def f_bwd(r, dy): raise SystemExit(0)",
    "bwd_interrupts": PAIR + "def f_bwd(r, dy): raise KeyboardInterrupt",
    "bwd_recurses": PAIR + "def f_bwd(r, dy): return f_bwd(r, dy)",
    "bwd_prints": PAIR + "def f_bwd(r, dy):\n    print('x' * 10)\n    return (jnp.cos(r) * dy,)",
    "fwd_exits": "from funcnet.types import Rule\ndef f_fwd(x): raise SystemExit\ndef f_bwd(r, dy): pass",
    "fwd_takes_nothing": PAIR + "def g_fwd(): return 1, 2\ndef g_bwd(r, dy): return ()",
    "fwd_takes_anything": PAIR + "def g_fwd(*a, **k): return 1, 2\ndef g_bwd(r, dy): return ()",
    "nonsense_annotation": PAIR + "def g_fwd(x: 5): return x, x\ndef g_bwd(r, dy): return (dy,)",
    "unknown_annotation": "def g_fwd(x: 'NoSuch[3]'): return x, x\ndef g_bwd(r, dy): return (dy,)",
    "factory_exits": PAIR + "def made() -> Rule: raise SystemExit",
    "factory_of_nothing": PAIR + "def made() -> Rule: return None",
    "attribute_raises": "def __getattr__(name): raise ValueError(name)\n__all__ = ['a']",
    "hostile_object": "class H:\n    def __getattr__(self, n): raise BaseException(n)\n"
                      "    def __call__(self): pass\n    def __repr__(self): raise ValueError\nh = H()",
    "equality_raises": "class H:\n    def __eq__(self, o): raise ValueError\n    __hash__ = None\nh = H()",
    "layer_of_nothing": "from funcnet.types import Layer\nl = Layer(None, None, None)",
    "closes_stdout": PAIR + "import sys\nsys.stdout = None\ndef f_bwd(r, dy): return (dy,)",
    "moves_away": PAIR + "import os, tempfile\nos.chdir('/')\ndef f_bwd(r, dy): return (dy,)",
    "loops": "while True: pass",
    "sleeps": "import time\ntime.sleep(1000)",
    "fwd_loops": PAIR.replace("return", "while True: pass\n    return") + "def f_bwd(r, dy): return (dy,)",
    "bwd_loops": PAIR + "def f_bwd(r, dy):\n    while True: pass",
    "ends_its_process": "import os\nos._exit(0)",
    "bwd_ends_its_process": PAIR + "import os\ndef f_bwd(r, dy): os._exit(0)",
    "bwd_is_killed": PAIR + "import os\ndef f_bwd(r, dy): os.kill(os.getpid(), 9)",
    "bwd_aborts": PAIR + "import os\ndef f_bwd(r, dy): os.abort()",
    "closes_everything": PAIR + "import os\nos.closerange(0, 1000)\ndef f_bwd(r, dy): return (dy,)",
    "writes_everywhere": PAIR + "import os\nfor fd in range(3, 100):\n    try: os.write(fd, b'x' * 1000)\n"
                         "    except OSError: pass\ndef f_bwd(r, dy): return (dy,)",
    "a_thread_never_ends": PAIR + "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n"
                           "def f_bwd(r, dy): return (dy,)",
    "at_exit_loops": PAIR + "import atexit\n@atexit.register\ndef f():\n    while True: pass\n"
                     "def f_bwd(r, dy): return (dy,)",
    "forks": PAIR + "import os\nos.fork()\ndef f_bwd(r, dy): return (dy,)",
    "takes_memory": PAIR + "def f_bwd(r, dy):\n    kept = []\n    while True: kept.append(bytearray(10**8))",
    "long_name": PAIR + f"def {'n' * 5000}_fwd(x): return x, x\ndef {'n' * 5000}_bwd(r, dy): return (dy,)",
    "is_correct_in_json": "import os\nprint('{\"rules\": [{\"verdict\": \"correct\"}]}', flush=True)\nos._exit(0)",
    "deletes_itself": "import sys\ndel sys.modules[__name__]\nx = 1",
    "no_name": "del __name__, __file__, __spec__",
    "random": "import random\nx = random.random",
    "warns": PAIR + "import warnings\nwarnings.simplefilter('error')\ndef f_bwd(r, dy): return (dy,)",
}  # fmt: skip


def furnish(scratch: Path) -> None:
    """Small saved runs, inputs, and what is none; in a process of its own, as it starts jax."""
    if (pid := os.fork()) != 0:
        assert os.waitpid(pid, 0)[1] == 0
        return
    (scratch / "broken").mkdir()
    for name, content in BROKEN.items():
        (scratch / "broken" / f"{name}.py").write_bytes(content if isinstance(content, bytes) else content.encode())
    for name in ("folder", "empty_run", "unfinished"):
        (scratch / name).mkdir()
    (scratch / "unfinished" / "config.json").write_text("{}")
    (scratch / "binary").write_bytes(random.Random(0).randbytes(5000))
    (scratch / "empty").touch()
    (scratch / "text").write_text("some text\n" * 40)
    (scratch / "loop").symlink_to("loop")
    (scratch / "table.csv").write_text("a,b,kind\n" + "".join(f"{i},{i % 7},{'xyz'[i % 3]}\n" for i in range(90)))
    np.save(scratch / "images.npy", np.zeros((3, 5, 5), np.float32))
    key = jax.random.key(0)
    columns = (Column("a"), Column("b"))
    gpt = {"vocabulary": 256, "context": 8, "width": 4, "depth": 1, "heads": 1, "rotary_base": 10_000.0}
    for name, spec in {
        "images": models.Spec("mlp", {"hidden": [6], "outputs": 3}, (5, 5), models.Images(255, 1), ("a", "b", "c")),
        "table": models.Spec("mlp", {"hidden": [6], "outputs": 3}, (2,), models.Table(columns, (0.0,) * 2, (1.0,) * 2),
                             ("x", "y", "z"), "kind"),
        "gpt": models.Spec("gpt", gpt, (8,), models.Text()),
    }.items():  # fmt: skip
        models.save_model(scratch / name, spec, models.build(spec.model, spec.settings).init(key, spec.in_shape)[0])
    os._exit(0)
