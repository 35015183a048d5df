"""The table of mistakes: every id that a finding may carry, what it means, and what to do.

They are grouped by what goes wrong. ``diagnose/diagnose.py`` says which is named if several would fit.
"""

from typing import NamedTuple


class Mistake(NamedTuple):
    """``sentence`` says what the cotangent (or the rule) does: it follows a name, as in "dx is the transpose …"."""

    id: str
    sentence: str
    remedy: str


# fmt: off
MISTAKES: dict[str, Mistake] = {mistake.id: mistake for mistake in (
    # the form of what bwd returns
    Mistake("wrong-structure", "does not have the structure of its argument, or bwd raised an exception",
            "return a tuple with one cotangent per argument, each a pytree like it, and None for integers"),
    Mistake("primal-mismatch", "belongs to a custom_vjp whose fwd returns another value than the function it decorates",
            "make fwd compute exactly what the decorated function computes"),
    Mistake("nondeterministic", "gives another answer when called again with the same arguments",
            "remove the hidden state; pass random keys as arguments"),
    Mistake("rank-assumption", "is right for arrays of one rank and wrong for another",
            "sum over all leading axes, not over axis 0 alone"),
    Mistake("missing-broadcast-sum", "is not summed over an axis that the argument was broadcast along",
            "sum over that axis"),
    Mistake("wrong-reduction-axis", "is summed over the wrong axis, or keeps an axis of size one",
            "sum over the axes the argument was broadcast along, and no others, without keepdims"),
    Mistake("wrong-shape", "does not have the shape of its argument", "return the shape of the argument"),
    Mistake("wrong-dtype", "does not have the dtype of its argument", "return the dtype of the argument"),
    Mistake("not-finite", "holds NaN or infinity, and the right gradient does not",
            "look for 0/0, ∞·0 or an overflow; mask before dividing or exponentiating, not after"),
    # the laws of a backward
    Mistake("updated-weights", "is the gradient at weights that were already updated",
            "compute every gradient before updating any weight"),
    Mistake("ignores-cotangent", "does not depend on dy", "multiply by dy: the chain rule starts from it"),
    Mistake("cotangent-squared", "is quadratic in dy", "multiply by dy once"),
    Mistake("nonlinear-in-cotangent", "is not linear in dy; every backward must be",
            "do not clip, threshold or normalise dy inside bwd"),
    Mistake("constant-forward", "is not zero, but the forward is constant around almost every value of this argument",
            "return zeros; if another function's gradient is meant (straight-through), name it by surrogate="),
    # a factor
    Mistake("missing-mean-divisor", "is too large by the size of an axis",
            "divide by that size, as the mean in the forward does"),
    Mistake("extra-mean-divisor", "is too small by the size of an axis",
            "divide by that size once less: the forward sums here, or the mean is already in dy"),
    # a path through the forward
    Mistake("path-lost", "misses the gradient that flows through this line",
            "differentiate this line too, and add its term"),
    Mistake("sign-flipped", "has the wrong sign on the path through this line", "change the sign of this line's term"),
    Mistake("counted-twice", "counts the gradient through this line twice", "add this line's term once"),
    Mistake("wrong-scale", "is off by a constant factor on the path through this line",
            "divide this line's term by the factor; look for a constant that was forgotten or used twice"),
    Mistake("overwritten", "holds what one use contributes, not the sum over all uses",
            "add the contributions of all uses (+=), do not assign (=)"),
    # a whole cotangent
    Mistake("transposed", "is the transpose of the right gradient", "transpose it, or swap the factors of the product"),
    Mistake("swapped-cotangents", "is the cotangent of another argument", "return one for each argument, in order"),
    Mistake("single-example", "is the contribution of one example, not the sum over all", "sum over the examples"),
    Mistake("jacobian-diagonal-only", "keeps only the diagonal of the Jacobian",
            "add the off-diagonal terms: every output depends on every input here"),
    Mistake("scatter-overwrites", "is wrong only where an index is repeated", "use .at[index].add, not .at[index].set"),
    Mistake("part-left-out", "is zero or NaN in one part of an axis, and right elsewhere",
            "look where a grid, a loop or a mask ends: the last block is often a partial one"),
    Mistake("kernel-not-flipped", "is right for the reversed kernel: a correlation stands for a convolution",
            "flip the kernel along its spatial axes"),
    # the derivative of one step
    Mistake("wrong-mask", "flows where this line's condition stops it, or stops where it flows",
            "apply the forward's condition to dy; at ties, divide dy among the tied"),
    Mistake("wrong-operand-transposed", "has an operand or the cotangent of this line's product transposed",
            "check the shapes: for y = a @ b, da = dy @ b.T and db = a.T @ dy"),
    Mistake("wrong-operand", "has another array in place of an operand of this line's product",
            "check the arrays: for y = a * b, da takes b and db takes a, each as it was in the forward"),
    Mistake("wrong-axis", "has a softmax or a sum of this line along another axis than the forward",
            "give the backward's softmax and its sum the axis of the forward"),
    Mistake("reversed-axis", "runs along an axis in the wrong direction",
            "flip the axis: what the forward sums or scans from the start, the backward takes from the end"),
    Mistake("permuted", "is not put back into the order of its argument",
            "undo the forward's reordering: scatter to the places that it gathered from"),
    Mistake("missing-factor", "lacks a factor of this line's derivative, or has one too many",
            "multiply by the other operand, and by the slope of the function, exactly once"),
    Mistake("derivative-at-output", "has the slope of this line at the result, not at the operand",
            "evaluate this slope at the input of the function"),
    Mistake("derivative-at-input", "has a slope of this line written for the result, given the operand",
            "evaluate this slope at the result, or write it in terms of the input"),
    Mistake("wrong-epsilon-or-ddof", "is off by a ratio close to one, the same along each row",
            "use the epsilon and the divisor (N or N − 1) of the forward"),
    # sums over the devices of a mesh
    Mistake("missing-all-reduce", "lacks a sum over an axis of the mesh",
            "sum over that axis (lax.psum): each device has the part of its own rows or columns"),
    Mistake("extra-all-reduce", "is summed over an axis of the mesh along which it is whole already",
            "leave out this sum over devices"),
    Mistake("wrong-axis-all-reduce", "is summed over another axis of the mesh than the one that it is split along",
            "sum over the axis along which its parts lie"),
    Mistake("unexplained", "is wrong in a way that fits no known mistake",
            "compare the worst elements with your formula"),
    # the arithmetic
    Mistake("low-precision-accumulation", "is right in float64, but less precise in a narrow dtype than autodiff",
            "accumulate in float32, and avoid long running sums"),
    Mistake("compiler-disagrees", "differs between eager and compiled code: the compiler errs, not the rule",
            "try another version of jaxlib, and report the fault there"),
)}
# fmt: on
