"""The number types of params.yaml, and what they mean on a device.

float32    on CUDA without TensorFloat32, so that float32 is float32 everywhere
tf32       on CUDA, float32 whose products are of TensorFloat32; elsewhere the same as float32
bfloat16   float32 weights, with autocast to bfloat16
auto       bfloat16 where the hardware is fast at it, otherwise float32
"""

import os

import torch


def resolve_precision(choice: str, device: torch.device) -> str:
    """Return what `auto` and `tf32` stand for on a device, and other names as they are."""
    if choice == "tf32" and device.type != "cuda":
        return "float32"
    if choice != "auto":
        return choice
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        cpu = torch.cpu
        fast = device.type == "cpu" and (
            cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()
        )
    return "bfloat16" if fast else "float32"


def set_up_cuda(precision: str, deterministic: bool = False, sizes_are_fixed: bool = True) -> None:
    """Choose the kernels on CUDA.

    Args:
        precision: A resolved precision.
        deterministic: Whether only repeatable kernels are allowed. PyTorch then raises an error
            where there is none.
        sizes_are_fixed: Whether all images have few sizes. Unless the kernels must be repeatable,
            cuDNN then times its algorithms for each size and takes the fastest.
    """
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = sizes_are_fixed and not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.backends.cuda.enable_cudnn_sdp(not deterministic)  # nothing says that it is repeatable
    torch.use_deterministic_algorithms(deterministic)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which a network computes in a resolved precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
