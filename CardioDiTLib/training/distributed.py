"""The little of torch.distributed that training needs: one process, or one of several started by torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta

import torch
from torch import distributed, nn


def start() -> tuple[int, int]:
    """(rank, number of ranks); joins the process group where torchrun set one up."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1 and not distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        # Rank 0 alone encodes and validates; the others wait for it.
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=6))
    return rank(), ranks


def pick_device(wanted: str) -> torch.device:
    """`auto` takes this rank's GPU where there is one, else the CPU."""
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def same_start(modules: Iterable[nn.Module]) -> None:
    """Rank 0's parameters and buffers everywhere."""
    if distributed.is_initialized():
        for module in modules:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, src=0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Mean of the gradients over all ranks.

    Done by hand instead of with DistributedDataParallel: its forward broadcasts buffers, so rank 0 alone could not
    validate.
    """
    if not distributed.is_initialized():
        return
    ranks = distributed.get_world_size()
    held = [parameter for parameter in parameters if parameter.requires_grad]
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in held])
    distributed.all_reduce(flat)
    flat /= ranks
    place = 0
    for parameter in held:
        count = parameter.numel()
        parameter.grad = flat[place : place + count].view_as(parameter).clone()
        place += count


def rank() -> int:
    """This process's number; 0 for one process, also where a scheduler numbers its jobs by the same variable."""
    return int(os.environ.get("RANK", "0")) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0


def any_rank(value: bool, device: torch.device) -> bool:
    """True on every rank where it is true on one: all leave a loop after the same step."""
    if not distributed.is_initialized():
        return value
    flag = torch.tensor(float(value), device=device)
    distributed.all_reduce(flag, distributed.ReduceOp.MAX)
    return bool(flag.item())


def same_everywhere(number: int, device: torch.device) -> bool:
    """Whether a number is the same on all ranks."""
    if not distributed.is_initialized():
        return True
    ends = torch.tensor([float(number), -float(number)], device=device)
    distributed.all_reduce(ends, distributed.ReduceOp.MAX)
    return bool(ends[0] == -ends[1])


def wait_for_all() -> None:
    if distributed.is_initialized():
        distributed.barrier()
