"""The optimizer of every training here: Adam, and AdamW where weights decay.

Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015; Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR
2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch


class Adam:
    """`torch.optim.AdamW` in its default form, to the last bit: the first optimizer of `torch.optim` in a process imports 804 modules of
    PyTorch's compiler, which takes longer than the training of a small scene and stops the window of QGIS meanwhile.

    weights: tensors with gradients. rate: of learning. betas, eps: as in the paper. decay: of the weights, in each step times the rate.
    """

    def __init__(
        self,
        weights: Iterable[torch.Tensor],
        rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.0,
    ) -> None:
        self.weights, self.rate, self.betas, self.eps, self.decay, self.steps = list(weights), rate, betas, eps, decay, 0
        self._means = [torch.zeros_like(weight) for weight in self.weights]
        self._squares = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def step(self) -> None:
        """Change the weights against their gradients, which are used up."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in self.betas)
        for weight, mean, square in zip(self.weights, self._means, self._squares):
            if weight.grad is None:
                continue
            if self.decay:
                weight.mul_(1 - self.rate * self.decay)
            mean.lerp_(weight.grad, 1 - self.betas[0])
            square.mul_(self.betas[1]).addcmul_(weight.grad, weight.grad, value=1 - self.betas[1])
            weight.addcdiv_(mean, (square.sqrt() / math.sqrt(second)).add_(self.eps), value=-self.rate / first)
            weight.grad = None
