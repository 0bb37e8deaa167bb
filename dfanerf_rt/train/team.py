"""Several processes that train one field together, as ``torchrun`` starts them; usually there is but one.

Each process looks at other frames and rays, gradients are averaged, and every process takes the same step. The first
one alone writes files and shows progress.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from dfanerf_rt.errors import BackendUnavailable, DfanerfError

TIMEOUT = datetime.timedelta(hours=2)
"""Others wait for the first process while it does alone what only one has to do."""


@dataclass(frozen=True)
class Team:
    """This process and its peers; without any, every method gives back what it is given."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where this process computes."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over all processes; one that is missing counts as 0."""
        if self.size == 1:
            return
        waiting = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.div_(self.size)
            waiting.append(torch.distributed.all_reduce(parameter.grad, async_op=True))
        for work in waiting:
            work.wait()

    @torch.no_grad()
    def average_rows(self, parameters: Iterable[torch.nn.Parameter], rows: list[int]) -> None:
        """The same of sparse gradients, of which each process has some of ``rows``; all processes name all rows."""
        if self.size == 1:
            return
        for parameter in parameters:
            index = torch.tensor(rows, device=parameter.device)
            if parameter.grad is None:
                values = parameter.new_zeros(len(rows), *parameter.shape[1:])
            else:
                values = parameter.grad.to_dense()[index] / self.size
            torch.distributed.all_reduce(values)
            parameter.grad = torch.sparse_coo_tensor(index[None], values, parameter.shape)

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give every process what the first one has."""
        if self.size > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, 0)

    @torch.no_grad()
    def largest_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by the elementwise maximum over all processes."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor, torch.distributed.ReduceOp.MAX)
        return tensor

    def largest(self, values: Sequence[float]) -> list[float]:
        """The maximum of each number over all processes."""
        if self.size == 1:
            return list(values)
        return self.largest_(torch.tensor(values, dtype=torch.float64, device=self.device)).tolist()

    def mean(self, scalars: dict[str, float]) -> dict[str, float]:
        """The mean of each number over all processes, which all have the same names."""
        if self.size == 1:
            return scalars
        values = torch.tensor(list(scalars.values()), dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(values)
        return dict(zip(scalars, (values / self.size).tolist(), strict=True))

    def part(self, items: list[int]) -> list[int]:
        """This process's share of a list that all processes have."""
        if self.size == 1:
            return items
        share = len(items) // self.size
        return items[self.rank * share : (self.rank + 1) * share]

    @contextlib.contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """Let the first process through, and the others when it is done: they find what it has written."""
        if self.size > 1 and not self.first:
            torch.distributed.barrier()
        yield
        if self.size > 1 and self.first:
            torch.distributed.barrier()

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            torch.distributed.barrier()


def check_device(device: str) -> torch.device:
    """The device to train on.

    Raises:
        BackendUnavailable: it is not there.
    """
    found = torch.device(device)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable(f"device {device!r}: torch finds no CUDA GPU here; train with --device cpu")
    return found


@contextlib.contextmanager
def join_team(device: str) -> Iterator[Team]:
    """Join the processes that ``torchrun`` has started (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``), or be alone.

    On a GPU each process takes the one of its local rank, and they talk by NCCL; on the CPU by gloo.

    Args:
        device: "cpu" or "cuda".

    Raises:
        BackendUnavailable: there is no such device, or there are fewer GPUs than processes.
        DfanerfError: the environment names a rank but is incomplete.
    """
    chosen = check_device(device)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Team(device=chosen)
        return
    try:
        rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError) as fault:
        raise DfanerfError(f"RANK is set, but not all of WORLD_SIZE and LOCAL_RANK ({fault}); use torchrun") from fault
    if chosen.type == "cuda":
        if local >= torch.cuda.device_count():
            raise BackendUnavailable(
                f"process {local} of this machine has no GPU of its own: there are {torch.cuda.device_count()}; "
                "start torchrun with as many processes as GPUs"
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    if size == 1:
        yield Team(device=chosen)
        return
    torch.distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Team(rank, size, chosen)
    finally:
        torch.distributed.destroy_process_group()
