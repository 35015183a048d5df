"""Pictures, a module for each kind: files, never windows, so the backend is chosen here, before pyplot is imported."""

import matplotlib

matplotlib.use("Agg")
