"""Assumptions: a backward that is wrong on random inputs may be right on those that its author had in mind."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..engine.inspection import primitives
from ..engine.jaxprs import Hooks
from ..engine.leaves import is_float, peak
from ..engine.rewriting import rerun
from ..tolerances import (
    FAR_OFF,
    GUARD,
    NEGLIGIBLE,
    SEED_ASSUMED,
    SHRUNK,
    TIGHTER,
    TINY,
    TURNS,
    UNCONVERGED,
    UNSURE,
    VANISHING,
)
from ..trial.domains import ASSUMED, Domain
from ..trial.draws import Draw
from ..trial.subject import Held, Subject
from .laws import law_findings
from .probe import Probe, compiled_sides, probe
from .reference import of_floats

ANY = Domain("{} is any array", lambda rng, shape: rng.normal(size=shape), lambda array: True)


def assumed(subject: Subject, probes: list[Probe]) -> str:
    """The domain of an argument in which the backward is right, as in "the rows of y sum to 1"; empty if there is none.

    A domain is tried on one argument at a time, at every size that was probed. It must leave a gradient to compare:
    that of x² is right by accident where x is 0. A caller's own arrays are wrong where they are, if other arrays, or
    those of one sign, would do.
    """
    if probes[0].agrees:  # it is wrong at some sizes alone
        return ""
    given = probes[0].draw.domain == "given arrays"
    if "while" in primitives(*of_floats(subject.primal, probes[0].draw.args)):
        subject = _rerun(subject, Hooks(turns=TURNS[-1]))  # outside its domain a loop may go on for ever
    sides = [compiled_sides(subject, p.draw.args, p.dys[0]) for p in probes]
    for name, place in _places(subject, probes[0].draw):
        for domain in (*((ANY,) if given else ()), *ASSUMED):
            found = {
                _right(subject, p, compared, name, place, domain) for p, compared in zip(probes, sides, strict=True)
            }
            if "" not in found:
                if given and not domain.exact:
                    break
                return max(found, key=len).format(name)
    return ""


def _right(subject: Subject, p: Probe, sides: Callable[..., Any], name: str, place: int, domain: Domain) -> str:
    """The condition under which the backward is right with one leaf in a domain; empty if it is wrong there."""
    try:
        draw = _within(p.draw, place, domain)
        if domain.part:
            subject = _moved(subject, name, domain.part)
        elif _far_off(p, sides, draw.args):
            return ""
        found = probe(subject, draw)
        condition = domain.says if found.agrees else ""
        if not found.agrees and (guards := negligible_guards(subject, [found]).condition):
            condition = f"{domain.says}, and {guards}"
    except Exception:  # no array of that shape lies in it, or the forward raises there
        return ""
    pairs = ((was[k], now[k]) for was, now in zip(p.refs, found.refs, strict=True) for k in p.wrong)
    return condition if all(2 * np.count_nonzero(now) > np.count_nonzero(was) for was, now in pairs) else ""


def _moved(subject: Subject, name: str, part: Callable[[Any], Any]) -> Subject:
    """The subject with a leaf that is moved only along such a ``part`` of a direction."""

    def parted(values: Sequence[Any]) -> tuple[Any, ...]:
        def changed(path: Any, value: Any) -> Any:
            own = f"{subject.arguments[path[0].idx]}{jax.tree_util.keystr(path[1:])}" == name
            return part(value) if own and is_float(value) else value

        return jax.tree_util.tree_map_with_path(changed, tuple(values))

    return subject._replace(
        bwd=lambda residuals, dy: parted(subject.bwd(residuals, dy)),
        primal=lambda *args: subject.primal(*parted(args)),
    )


def _far_off(p: Probe, sides: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether compiled code, which is quick, says that a backward is wrong by more than any rounding."""
    try:
        gots, refs = sides(args)
    except Exception:  # it looks at values, or the eager run reports the error
        return False
    sizes = [max(peak(ref), VANISHING * peak(p.dys)) for ref in refs]
    return any(peak(got - ref) > FAR_OFF * size for got, ref, size in zip(gots, refs, sizes, strict=True))


def _places(subject: Subject, draw: Draw) -> list[tuple[str, int]]:
    """The names and the places of the floating leaves, those of arguments held fixed too."""
    paths = jax.tree_util.tree_leaves_with_path(draw.args)
    named = [f"{subject.arguments[path[0].idx]}{jax.tree_util.keystr(path[1:])}" for path, _ in paths]
    return [(name, n) for n, (name, (_, leaf)) in enumerate(zip(named, paths, strict=True)) if is_float(_value(leaf))]


def _value(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Held) else leaf


def _within(draw: Draw, place: int, domain: Domain) -> Draw:
    """A draw with one leaf drawn from a domain. Raises ValueError if there is no array of its shape in it."""
    leaves, structure = jax.tree.flatten(draw.args)
    rng = np.random.default_rng([draw.seed, SEED_ASSUMED])
    drawn = jnp.asarray(domain(rng, np.shape(_value(leaves[place]))), jnp.float64)
    leaves[place] = Held(drawn) if isinstance(leaves[place], Held) else drawn
    return draw._replace(args=jax.tree.unflatten(structure, leaves))


class Excuse(NamedTuple):
    """A ``condition`` under which a backward that seems wrong is right, or a ``doubt`` for which nobody is blamed."""

    condition: str = ""
    doubt: str = ""


def negligible_guards(
    subject: Subject, probes: list[Probe], lawful: bool = True, again: Callable[[Subject, Draw], Probe] = probe
) -> Excuse:
    """The tiny constants of the forward that a derivation may neglect, as in "1e-08 is negligible".

    Such a constant keeps a divisor off zero, and the backward is off by next to nothing, and right without it; if an
    epsilon matters, leaving it out is a mistake. Or it ends a loop, of whose limit the backward is the derivative: then
    the error is as large as the tolerance, and shrinks with it; or, as the derivative of such a loop may be very
    sensitive to rounding, what is left says nothing, and nobody is blamed. A loop in the backward may make it linear in
    dy up to the tolerance alone: if it is not ``lawful``, that must shrink too. ``again`` compares as was compared.
    """
    loops = "while" in primitives(*of_floats(subject.primal, probes[0].draw.args))
    errors = [_apart(p.gots, p.refs, p.wrong) for p in probes]
    if max(errors) > (UNCONVERGED if loops else NEGLIGIBLE) or not (lawful or loops):
        return Excuse()
    guards: dict[float, None] = {}

    def smaller(value):
        if np.ndim(value) == 0 and is_float(np.asarray(value)) and 0 < abs(value) <= GUARD:
            guards[float(value)] = None
            return (TIGHTER if loops else 0) * value
        return value

    bare = _rerun(subject, Hooks(constant=smaller, turns=TURNS[-1]))  # without its tolerance no loop would end
    try:
        found = [again(bare, p.draw) for p in probes]
        if not lawful and law_findings(bare, found[0], SHRUNK * max(errors)):
            return Excuse()
    except Exception:  # a solver says so if it has not converged
        return Excuse()
    named = " and ".join(f"{guard:g}" for guard in guards) + " in the forward " + ("is" if len(guards) == 1 else "are")
    if not guards:
        return Excuse()
    if all(
        now.agrees or (loops and _apart(now.gots, now.refs, {*p.wrong, *now.wrong}) <= SHRUNK * error)
        for p, now, error in zip(probes, found, errors, strict=True)
    ):
        return Excuse(f"{named} negligible")
    if loops and max(units for now in found for row in now.excess for units in row) <= UNSURE:
        text = f"off by {max(errors):.0e} of the largest entry, and if {named} smaller, by no more than"
        return Excuse(doubt=f"{text} autodiff of the loop loses to rounding: nobody can be blamed")
    return Excuse()


def _apart(gots: list[list[np.ndarray]], refs: list[list[np.ndarray]], leaves: Collection[int]) -> float:
    """The largest difference in some leaves, as a share of the largest entry of each."""
    pairs = ((got[i], ref[i]) for got, ref in zip(gots, refs, strict=True) for i in leaves)
    return max((peak(got - ref) / max(peak(ref), TINY) for got, ref in pairs), default=0.0)


def _rerun(subject: Subject, hooks: Hooks) -> Subject:
    """The subject with its steps changed; of NumPy code only the reference can be, whose value is then another."""

    def of_numpy(*args: Any) -> Any:
        f, floats = of_floats(subject.primal, args)  # NumPy must see the values of all else
        return rerun(f, hooks)(*floats)

    if subject.in_numpy:
        return subject._replace(primal=of_numpy, primal_is="a surrogate")
    fwd, bwd = (rerun(f, hooks, inline_custom=True) for f in (subject.fwd, subject.bwd))  # never differentiated
    return subject._replace(fwd=fwd, bwd=bwd, primal=rerun(subject.primal, hooks))
