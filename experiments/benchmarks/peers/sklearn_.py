"""scikit-learn's MLPClassifier, from its own initial weights: its loop shuffles and trains a whole epoch."""

import warnings

import numpy as np
from sklearn.neural_network import MLPClassifier

from .work import Peer, Work


def prepare(work: Work) -> Peer:
    settings = {"solver": "sgd", "learning_rate_init": work.rate, "momentum": 0.0, "alpha": 0.0, "random_state": 0}
    model = MLPClassifier(work.units[:-1], batch_size=work.batch, max_iter=1, warm_start=True, **settings)
    warnings.simplefilter("ignore")  # one epoch does not converge, and is not meant to

    def epoch(order: np.ndarray) -> None:
        model.fit(work.x[: order.size], work.labels[: order.size])

    return Peer(epoch, model.predict_log_proba)
