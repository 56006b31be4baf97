"""Compile the Triton kernels for GPUs of compute capability 8.0 and 9.0; no GPU is needed.

For each: the loss, and the gradients of items and of interests, in fp32 as in fine-tuning and in
bf16 as in pre-training. Small tiles, which take a second where the real ones take several.
"""

from __future__ import annotations

import re

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from miracle_core.model.triton_tiles import gradient_kernel, loss_kernel

INTEGERS = {"n_users", "n_items", "k", "width", "rounds"}
TYPES = {"scale": "fp32", "least": "fp32", "targets": "*i64", "had": "*i64", "bounds": "*i32"}


def compiled(capability: int, products: str, biased: bool, of_items: bool | None) -> str:
    """A kernel's assembly: the loss's, or with ``of_items`` a gradient's."""
    kernel = loss_kernel if of_items is None else gradient_kernel
    constants = {"ITEM_BIAS": biased, "TARGET_BIAS": biased, "REPEATS": True}
    constants |= {"USERS": 16, "ITEMS": 16, "WIDTHS": 16}
    if of_items is not None:
        constants["OF_ITEMS"] = of_items
    types = TYPES | {name: "i32" for name in INTEGERS} | dict.fromkeys(constants, "constexpr")
    types |= {"vectors": f"*{products}", "items": f"*{products}"}
    signature = {name: types.get(name, "*fp32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, constants)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert made.asm["cubin"]
    return str(made.asm["ptx"])


if __name__ == "__main__":
    for capability in (80, 90):
        for products, biased in (("fp32", False), ("bf16", True)):
            for of_items in (None, True, False):
                assembly = compiled(capability, products, biased, of_items)
                # Sums in an order of their own would make results differ from run to run.
                assert not re.search(r"\b(atom|red)\.", assembly)
                # Matrix units, and no fp32 product cut to 10 bits.
                assert ("mma" in assembly) == (products == "bf16")
                print("compiled")
