# /// script
# requires-python = ">=3.9"
# dependencies = ["numpy"]
# ///
"""numpy: linear algebra on BLAS's own threads, transforms, random numbers, arrays in files and in mapped memory."""

import os
import tempfile

import numpy as np


def linear_algebra(n=400):
    generator = np.random.default_rng(7)
    a, b = generator.standard_normal((n, n)), generator.standard_normal((n, n))
    product = a @ b  # large enough for BLAS to use its threads
    assert np.allclose(product[3], a[3].dot(b))
    x = np.linalg.solve(a, b[:, 0])
    assert np.allclose(a @ x, b[:, 0])
    u, s, vt = np.linalg.svd(a[:100, :50], full_matrices=False)
    assert np.allclose(u * s @ vt, a[:100, :50])
    values = np.linalg.eigvalsh(a @ a.T)
    assert (values > 0).all()
    assert np.allclose(np.linalg.inv(a) @ a, np.eye(n), atol=1e-6)
    return product.shape, len(values)


def transforms():
    seconds = np.linspace(0, 1, 1024, endpoint=False)
    wave = np.sin(2 * np.pi * 50 * seconds) + 0.5 * np.sin(2 * np.pi * 120 * seconds)
    spectrum = np.abs(np.fft.rfft(wave))
    assert np.allclose(np.fft.irfft(np.fft.rfft(wave)), wave)
    return np.sort(np.argsort(spectrum)[-2:]).tolist()


def random_numbers():
    np.random.default_rng().random()  # seeded by the operating system
    generator = np.random.default_rng(7)
    sample = generator.normal(size=100_000)
    assert abs(sample.mean()) < 0.02
    return generator.permutation(8).shape, int(np.histogram(sample, bins=10)[0].sum())


def files(directory):
    grid = np.arange(12_000, dtype=np.float64).reshape(100, 120)
    single, several, text, raw = (os.path.join(directory, name) for name in ("a.npy", "b.npz", "c.csv", "d.raw"))
    np.save(single, grid)
    assert (np.load(single) == grid).all()
    assert np.load(single, mmap_mode="r")[99, 119] == 11_999
    np.savez_compressed(several, grid=grid, mask=grid > 5)
    with np.load(several) as loaded:
        assert loaded["mask"].sum() == 11_994
    np.savetxt(text, grid[:5], delimiter=",")
    assert np.allclose(np.loadtxt(text, delimiter=","), grid[:5])
    mapped = np.memmap(raw, dtype=np.int32, mode="w+", shape=(1 << 18,))
    mapped[:] = np.arange(1 << 18, dtype=np.int32)
    mapped.flush()
    del mapped
    return int(np.fromfile(raw, dtype=np.int32).astype(np.int64).sum())


def arrays():
    big = np.ones(1 << 22)  # 32 MiB: memory that is mapped and given back
    big = np.concatenate([big, big])
    total = int(big.sum())
    del big
    words = np.array(["b", "a", "b"])
    names, counts = np.unique(words, return_counts=True)
    with np.errstate(divide="ignore"):
        assert np.isinf(np.array([1.0]) / 0)
    days = np.arange("2024-02-27", "2024-03-02", dtype="datetime64[D]")
    return total, names.tolist(), counts.tolist(), len(days), float(np.einsum("ij,ij->", np.eye(3), np.eye(3)))


print("linear algebra:", *linear_algebra())
print("transforms:", transforms())
print("random numbers:", *random_numbers())
with tempfile.TemporaryDirectory(prefix="numpy-") as directory:
    print("files:", files(directory))
print("arrays:", *arrays())
print("ok: numpy works")
