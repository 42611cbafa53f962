"""Several processes that train one model together, each of them a worker of TF_CONFIG's cluster."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odapi.console import termination
from odapi.console.errors import UserError
from odapi.console.terminal import say

VARIABLE = "TF_CONFIG"
_PLACE = f"environment variable {VARIABLE}"
_FORM = (
    'it is for worker 0 of 2: {"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Task:
    """The place of this process among the workers.

    Attributes:
        addresses: type and index of every worker in TF_CONFIG, to its host:port; the chief's first.
        index: of this process among them.
    """

    addresses: dict[tuple[str, int], str]
    index: int


def read_task(num_workers: int) -> Task | None:
    """What TF_CONFIG says of this process; None where it is the only one.

    Args:
        num_workers: the number of workers that there are to be.

    Raises:
        UserError: TF_CONFIG is missing, is not what TensorFlow reads, or has another number.
    """
    text = os.environ.get(VARIABLE)
    if num_workers == 1 and not text:
        return None
    if not text:
        raise UserError(
            f"nothing says where the {num_workers} workers are, and which of them this is",
            at=_PLACE,
            hint=_FORM,
        )
    try:
        value = json.loads(text)
        cluster, task = value.get("cluster", {}), value.get("task", {})
        addresses = {
            (kind, index): str(address)
            for kind in ("chief", "worker")
            for index, address in enumerate(cluster.get(kind, []))
        }
        own = str(task.get("type")), int(task.get("index", -1))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"this describes no cluster: {error}", at=_PLACE, hint=_FORM) from None
    if num_workers == 1 and len(addresses) <= 1:
        return None
    if len(addresses) != num_workers:
        raise UserError(
            f"the cluster has {len(addresses)} workers, and --num_workers is {num_workers}",
            at=_PLACE,
            hint=f"--num_workers={len(addresses)}; to train alone, unset {VARIABLE}"
            if len(addresses) > 1
            else _FORM,
        )
    if own not in addresses:
        raise UserError(
            f"the cluster has no {own[0]} of index {own[1]} to train",
            at=f"{_PLACE}: task",
            hint=_FORM,
        )
    return Task(addresses, list(addresses).index(own))


class Workers:
    """All the workers of a run, as seen from one of them. A run in one process has one.

    Attributes:
        strategy: the `tf.distribute.Strategy` to train under.
        count: number of workers.
        index: of this one; 0 is the chief, which writes checkpoints and logs, and evaluates.
    """

    def __init__(self, strategy: Any, task: Task | None) -> None:
        self.strategy = strategy
        self._task = task
        self.count = len(task.addresses) if task else 1
        self.index = task.index if task else 0

    @property
    def is_chief(self) -> bool:
        """Whether this is the one that writes; so is the only one."""
        return self.index == 0

    def gather(self, value: int) -> list[int]:
        """Every worker's value, by its index; each of them has to call this, and waits for all."""
        if self.count == 1:
            return [value]
        import tensorflow as tf

        replicas = self.strategy.num_replicas_in_sync // self.count

        def place(context: Any) -> Any:
            numbers = [0] * self.count
            if context.replica_id_in_sync_group == self.index * replicas:
                numbers[self.index] = value
            # Of the types that NCCL adds up, the one that holds whole numbers up to 2**53.
            return tf.constant(numbers, tf.float64)

        values = self.strategy.experimental_distribute_values_from_function(place)
        total = self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)
        return [int(number) for number in total.numpy()]

    def on_this_worker(self, function: Callable[[], Any]) -> Any:
        """Calls a function, within the strategy's scope, that the other workers do not call.

        Variables that it makes would be of all workers, and wait for the others. The scope is the
        thread's, so it runs in another one.
        """
        if self.count == 1:
            return function()
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(function).result()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Has the chief alone print, and tells in our words that another worker is gone.

        TensorFlow finds that out within ten seconds, by heartbeats or a closed connection, and ends
        what this one waits for.
        """
        import tensorflow as tf

        if self.count == 1:
            yield
            return
        try:
            with (
                Path(os.devnull).open("w") as nowhere,
                redirect_stdout(sys.stdout if self.is_chief else nowhere),
            ):
                yield
        except tf.errors.UnavailableError as error:
            raise UserError(
                "another worker is gone, and this one cannot train without it",
                at=self._others_in(error.message) or error.message.splitlines()[0],
                hint="look at what it wrote; then start all of them again: they go on from the "
                "last checkpoint",
                exit_code=1,
            ) from None

    def _others_in(self, message: str) -> str:
        """The workers that an error of TensorFlow names, with their addresses."""
        places = list(self._task.addresses.items())
        found = re.findall(r"/job:(\w+)(?:/replica:0)?/task:(\d+)", message)
        others = {
            f"worker {index}, {address}"
            for index, (place, address) in enumerate(places)
            if index != self.index and (place[0], str(place[1])) in found
        }
        return "; ".join(sorted(others))


def join(num_workers: int) -> Workers:
    """Connects with the other workers, which waits for them; call it before any op of TensorFlow.

    Args:
        num_workers: as for `read_task`.

    Raises:
        UserError: as `read_task`, or the others cannot be reached.
    """
    import tensorflow as tf

    task = read_task(num_workers)
    if task is None:
        # One device needs no replicas, and the default strategy is faster on it.
        many = len(tf.config.list_physical_devices("GPU")) > 1
        return Workers(
            tf.distribute.MirroredStrategy() if many else tf.distribute.get_strategy(), None
        )
    addresses = list(task.addresses.values())
    say(f"worker {task.index} of {', '.join(addresses)}: waits for the others", flush=True)
    try:
        with termination.at_once():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise UserError(
            f"the workers do not come together: {error.message.splitlines()[0]}",
            at=_PLACE,
            hint="the port of this worker has to be free, and the others have to be reachable",
        ) from None
    return Workers(strategy, task)
