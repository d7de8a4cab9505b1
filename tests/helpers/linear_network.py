"""The linear network of the recorded iterations: f_m = x W + b_m, one W and b for each branch, trained by a real optimiser."""

import torch

from sdcl.methods.interface import Batch

SHORT = {"visible": "rgb", "infrared": "ir"}


class LinearNetwork:
    """Parameters from the arrays: branch -> W, and branch -> modality -> b.

    Args:
        suffixes: branch -> ending of its arrays' names. prefix: beginning of the parameters' names.
    """

    def __init__(self, arrays, suffixes, prefix=""):
        def parameter(name):
            return torch.from_numpy(arrays[prefix + name]).clone().requires_grad_()

        self.weight = {b: parameter(f"W{s}") for b, s in suffixes.items()}
        self.bias = {
            b: {m: parameter(f"b_{short}{s}") for m, short in SHORT.items()} for b, s in suffixes.items()
        }

    def parameters(self):
        return [*self.weight.values(), *(bias for sides in self.bias.values() for bias in sides.values())]

    def __call__(self, visible, infrared):
        """Inputs (B, Din) -> modality -> branch -> (B, D), which keep their gradients."""
        features = {
            m: {b: x @ self.weight[b] + self.bias[b][m] for b in self.weight}
            for m, x in (("visible", visible), ("infrared", infrared))
        }
        for branches in features.values():
            for feature in branches.values():
                feature.retain_grad()
        return features


def views(arrays, iteration, prefix=""):
    """The inputs of an iteration: plain views then exchanged ones, and infrared."""
    both = [torch.from_numpy(arrays[f"{prefix}input_rgb_view{v}"][iteration]) for v in (1, 2)]
    return torch.cat(both), torch.from_numpy(arrays[f"{prefix}input_ir"][iteration])


def whole_batch(labels, indexes=None):
    """A batch that one process holds. labels: modality -> int (B,)."""
    return Batch(labels, indexes or labels, dict.fromkeys(labels, slice(None)))


def step(optimizer, objectives, features, batch):
    """One optimiser step of the objectives' sum. -> terms"""
    everyone = {m: {b: f.detach() for b, f in branches.items()} for m, branches in features.items()}
    terms = {}
    for objective in objectives:
        terms |= objective(features, everyone, batch)
    optimizer.zero_grad()
    sum(terms.values()).backward()
    optimizer.step()
    return terms
