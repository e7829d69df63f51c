# /// script
# requires-python = ">=3.9"
# dependencies = ["matplotlib"]
# ///
"""matplotlib with the Agg backend: figures of several kinds, rendered to PNG, SVG and PDF in memory."""

import atexit
import io
import os
import shutil
import tempfile

# matplotlib writes its font cache there at import; a home directory may not be writable.
os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="matplotlib-")
atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)

import matplotlib  # noqa: E402

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402


def figure():
    generator = np.random.default_rng(7)
    x = np.linspace(0, 2 * np.pi, 200)
    made, axes = plt.subplots(2, 2, figsize=(6, 4), constrained_layout=True)
    axes[0, 0].plot(x, np.sin(x), label=r"$\sin(x)$")
    axes[0, 0].fill_between(x, np.sin(x), alpha=0.3)
    axes[0, 0].legend()
    axes[0, 1].hist(generator.normal(size=1000), bins=30)
    axes[0, 1].set_title("zażółć")
    shown = axes[1, 0].imshow(generator.random((20, 20)), cmap="viridis")
    made.colorbar(shown, ax=axes[1, 0])
    axes[1, 1].scatter(generator.random(50), generator.random(50), c=generator.random(50))
    axes[1, 1].annotate("here", (0.5, 0.5), arrowprops={"arrowstyle": "->"})
    return made


def render(made, form):
    buffer = io.BytesIO()
    made.savefig(buffer, format=form, dpi=80)
    return buffer.getvalue()


made = figure()
png = render(made, "png")
made.canvas.draw()
pixels = np.asarray(made.canvas.buffer_rgba())
assert png.startswith(b"\x89PNG\r\n") and pixels.shape[2] == 4 and pixels.std() > 0
print("png:", plt.imread(io.BytesIO(png)).shape)
print("svg:", b"</svg>" in render(made, "svg"))
print("pdf:", render(made, "pdf").startswith(b"%PDF-"))
plt.close(made)
print("figures left open:", len(plt.get_fignums()))
print("ok: matplotlib works")
