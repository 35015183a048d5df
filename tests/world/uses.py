"""Published functions as their users call them, where that takes more than a call: solvers, methods, modules.

Nothing here is a derivation of ours: each function hands its arguments to a package, and returns what came back.
"""

import jax
import jax.numpy as jnp


def ott_fixpoint(a, x, *, least):
    """x ← tanh(a x + 0.1), from ``least`` to 20 times, two at a time."""
    from ott.math.fixed_point_loop import fixpoint_iter_backprop

    def body(iteration, a, x, compute_error):
        return jnp.tanh(a @ x + 0.1)

    return fixpoint_iter_backprop(lambda i, a, x: jnp.array(False), body, least, 20, 2, a, x)


def ott_semidiscrete_loss(g, x, y):
    """The dual objective of a soft semidiscrete problem between samples x (N, D) and points y (M, D), for g (M,)."""
    from ott.geometry import pointcloud
    from ott.problems.linear import linear_problem
    from ott.solvers.linear.semidiscrete import _semidiscrete_loss

    return _semidiscrete_loss(g, linear_problem.LinearProblem(pointcloud.PointCloud(x, y, epsilon=0.5)))


def ott_legendre(z):
    from ott.geometry import costs, regularizers

    return costs.RegTICost(regularizers.L1(), lam=0.3).h_legendre(z)


def ott_sinkhorn(x, y, *, implicit):
    """The regularised cost of transport between points x (N, D) and y (M, D), without logarithms."""
    from ott.geometry import pointcloud
    from ott.solvers import linear
    from ott.solvers.linear import implicit_differentiation

    how = implicit_differentiation.ImplicitDiff() if implicit else None
    geometry = pointcloud.PointCloud(x, y, epsilon=0.5)
    found = linear.solve(geometry, implicit_diff=how, use_danskin=False, threshold=1e-6, lse_mode=False)
    return found.primal_cost


def korvax_allpole(x, a, zi=None):
    """A batch of signals (N, T), each with coefficients (T, order)."""
    from korvax.filter import ltv

    return jax.vmap(ltv.allpole)(x, a) if zi is None else jax.vmap(ltv.allpole)(x, a, zi)


def flax_layer_norm(x, scale, bias):
    from flax import linen

    return linen.LayerNorm().apply({"params": {"scale": scale, "bias": bias}}, x)


def flax_lstm(x, wi, wh):
    """An LSTM over x (B, T, D); wi (D, 4H) and wh (H, 4H) hold the gates side by side."""
    from flax import linen

    names = ("i", "f", "g", "o")
    cell = {f"i{n}": {"kernel": w} for n, w in zip(names, jnp.split(wi, 4, 1), strict=True)}
    cell |= {
        f"h{n}": {"kernel": w, "bias": jnp.zeros(w.shape[1])} for n, w in zip(names, jnp.split(wh, 4, 1), strict=True)
    }
    return linen.RNN(linen.OptimizedLSTMCell(wh.shape[0])).apply({"params": {"cell": cell}}, x)


def jaxopt_fixed_point(a, b):
    """x = tanh(a x + b), differentiated implicitly."""
    import jaxopt

    solver = jaxopt.FixedPointIteration(lambda x, a, b: jnp.tanh(a @ x + b), maxiter=200, tol=1e-12)
    return solver.run(jnp.zeros_like(b), a, b).params


def jaxopt_ridge(x, y, penalty):
    """The weights of a ridge regression, found by L-BFGS and differentiated implicitly."""
    import jaxopt

    def objective(w, x, y, penalty):
        return jnp.mean((x @ w - y) ** 2) + penalty * jnp.sum(w**2)

    return jaxopt.LBFGS(objective, tol=1e-10, maxiter=200).run(jnp.zeros_like(x[0]), x, y, penalty).params


def jaxopt_bisection(a):
    import jaxopt

    return jaxopt.Bisection(lambda x, a: x**3 - x - a, 1.0, 3.0, tol=1e-12, maxiter=100).run(None, a).params


def jaxopt_quadratic(q, c, a, b):
    """min ½ xᵀqx + cᵀx with a x = b."""
    import jaxopt

    return jaxopt.EqualityConstrainedQP(tol=1e-10).run(params_obj=(q, c), params_eq=(a, b)).params.primal


def optimistix_root(a, b):
    """The root of x − tanh(a x + b)."""
    import optimistix

    solver = optimistix.Newton(rtol=1e-6, atol=1e-6)
    return optimistix.root_find(lambda x, p: x - jnp.tanh(p[0] @ x + p[1]), solver, jnp.zeros_like(b), (a, b)).value


def optimistix_fixed_point(a, b):
    import optimistix

    solver = optimistix.FixedPointIteration(rtol=1e-6, atol=1e-6)
    return optimistix.fixed_point(lambda x, p: jnp.tanh(p[0] @ x + p[1]), solver, jnp.zeros_like(b), (a, b)).value


def optimistix_minimise(x, y):
    import optimistix

    def objective(w, data):
        return jnp.mean((data[0] @ w - data[1]) ** 2) + 0.1 * jnp.sum(w**2)

    return optimistix.minimise(objective, optimistix.BFGS(rtol=1e-6, atol=1e-6), jnp.zeros_like(x[0]), (x, y)).value


def optimistix_least_squares(x, y):
    import optimistix

    solver = optimistix.LevenbergMarquardt(rtol=1e-6, atol=1e-6)
    return optimistix.least_squares(lambda w, d: jnp.tanh(d[0] @ w) - d[1], solver, jnp.zeros_like(x[0]), (x, y)).value


def lineax_solve(a, b, *, solver):
    import lineax

    return lineax.linear_solve(lineax.MatrixLinearOperator(a), b, getattr(lineax, solver)()).value


def diffrax_decay(a, x):
    """dx/dt = tanh(a x) from 0 to 1 by Tsitouras' method, with recursive checkpoints."""
    import diffrax

    term = diffrax.ODETerm(lambda t, x, a: jnp.tanh(a @ x))
    return diffrax.diffeqsolve(term, diffrax.Tsit5(), 0.0, 1.0, 0.1, x, a).ys[0]


def equinox_loop(a, x, *, kind):
    """Seven steps of x ← tanh(a x), in a while loop that has a reverse."""
    from equinox.internal import while_loop

    def body(carry):
        i, x = carry
        return i + 1, jnp.tanh(a @ x)

    return while_loop(lambda carry: carry[0] < 7, body, (0, x), max_steps=16, kind=kind)[1]


def jax_custom_root(a, b):
    """The root of x − tanh(a x + b), by a fixed number of fixed-point steps."""

    def solve(f, x):
        return jax.lax.fori_loop(0, 60, lambda i, x: x - f(x), x)

    def tangent_solve(g, y):
        return jnp.linalg.solve(jax.jacobian(g)(y), y)

    return jax.lax.custom_root(lambda x: x - jnp.tanh(a @ x + b), jnp.zeros_like(b), solve, tangent_solve)


def jax_odeint(a, x, t):
    from jax.experimental.ode import odeint

    return odeint(lambda x, t, a: jnp.tanh(a @ x) + t, x, t, a, rtol=1e-6, atol=1e-6)
