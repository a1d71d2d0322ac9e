"""How exactly NVIDIA GPUs multiply float32 numbers."""

import torch


def tf32_allowed() -> bool:
    """Return whether float32 products may use TF32; the old flag can't be read after a program has set the new one."""
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # since torch 2.9
        return bool(matmul.fp32_precision == "tf32")
    return bool(matmul.allow_tf32)
