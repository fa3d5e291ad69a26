"""What a device computes at most: bf16 matrix products with float32 sums, by the name JAX gives its kind.

Figures are the vendors' (cloud.google.com/tpu/docs: v2 to v6e and TPU7x; NVIDIA's data sheets, without sparsity). JAX's
devices of v2, v3 and TPU7x are half a chip. A kind that is not here has no peak: none is guessed.
"""

PEAKS = {  # FLOP/s of one device
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "TPU7x": 1153.5e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
    "NVIDIA L4": 121e12,
}


def peak(device_kind: str) -> float | None:
    """Returns the peak of a device in FLOP/s, None where it is not known."""
    return PEAKS.get(device_kind)
