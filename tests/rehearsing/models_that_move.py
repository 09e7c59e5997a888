"""Small models, each with what a CUDA device makes of it, by torch's own device checks: `fails` or `passes`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # as people write it
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

Inputs = tuple[torch.Tensor, ...]


class Case(NamedTuple):
    make: type[nn.Module]
    inputs: Callable[[], Inputs]
    verdict: str
    why: str


CASES: dict[str, Case] = {}


def floats() -> Inputs:
    return (torch.randn(2, 5, 8),)


def tokens() -> Inputs:
    return (torch.randint(0, 10, (2, 5)),)


def with_lengths() -> Inputs:
    return torch.randn(2, 5, 8), torch.tensor([5, 3])


def case(
    verdict: str, why: str, inputs: Callable[[], Inputs] = floats
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    def note(cls: type[nn.Module]) -> type[nn.Module]:
        CASES[cls.__name__] = Case(cls, inputs, verdict, why)
        return cls

    return note


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.init()

    def init(self) -> None:
        """What a case adds."""


@case("fails", "the tutorial's positions, a plain attribute")
class Positions(Base):
    def init(self):
        pe = torch.zeros(50, 8)
        position = torch.arange(50).unsqueeze(1)
        div = torch.exp(torch.arange(0, 8, 2) * (-math.log(1e4) / 8))
        pe[:, 0::2] = torch.sin(position * div)
        pe[:, 1::2] = torch.cos(position * div)
        self.pe = pe.unsqueeze(0)

    def forward(self, x):
        return self.fc(x + self.pe[:, : x.size(1)])


@case("passes", "registered, persistent=False")
class RegisteredPositions(Positions):
    def init(self):
        super().init()
        pe = self.__dict__.pop("pe")
        self.register_buffer("pe", pe, persistent=False)


@case("fails", "masks in a list")
class MaskList(Base):
    def init(self):
        self.masks = [torch.ones(5, 5).tril().bool()]

    def forward(self, x):
        return (x @ x.transpose(1, 2)).masked_fill(~self.masks[0], 0.0)


@case("fails", "arange without a device")
class Arange(Base):
    def init(self):
        self.e = nn.Embedding(50, 8)

    def forward(self, x):
        return x + self.e(torch.arange(x.size(1)))


@case("passes", "arange with device=x.device")
class ArangeOnDevice(Arange):
    def forward(self, x):
        return x + self.e(torch.arange(x.size(1), device=x.device))


@case("passes", "a plain attribute, `.to(x.device)` at each use")
class ToDevice(Positions):
    def forward(self, x):
        return self.fc(x + self.pe[:, : x.size(1)].to(x.device))


@case("passes", "`.to(x)` and `.type_as(x)`")
class ToOther(Positions):
    def forward(self, x):
        return self.fc(x + self.pe[:, : x.size(1)].to(x)) + self.pe[:, : x.size(1)].type_as(x)


@case("passes", "`.type(x.type())`, as people wrote before `.to`")
class ToType(Positions):
    def forward(self, x):
        return self.fc(x + self.pe[:, : x.size(1)].type(x.type()))


@case("passes", "a 0-dim CPU tensor in arithmetic")
class ScalarInArithmetic(Base):
    def init(self):
        self.scale = torch.tensor(2.0)

    def forward(self, x):
        return torch.where(x > self.scale, x, self.scale) * self.scale


@case("fails", "a CPU tensor of shape (1,) in arithmetic")
class OneElementInArithmetic(Base):
    def init(self):
        self.scale = torch.ones(1)

    def forward(self, x):
        return x * self.scale


@case("fails", "index_select by a 0-dim CPU index")
class SelectByScalar(Base):
    def init(self):
        self.i = torch.tensor(1)

    def forward(self, x):
        return x.index_select(1, self.i)


@case("fails", "stack of a 0-dim CPU tensor")
class StackOfScalar(Base):
    def init(self):
        self.scale = torch.tensor(2.0)

    def forward(self, x):
        return torch.stack([x.sum(), self.scale])


@case("passes", "a CPU index in brackets")
class IndexInBrackets(Base):
    def init(self):
        self.idx = torch.tensor([0, 2])

    def forward(self, x):
        return x[:, self.idx]


@case("passes", "a CPU bool mask in brackets")
class MaskInBrackets(Base):
    def init(self):
        self.m = torch.tensor([True, False, True, False, False])

    def forward(self, x):
        return x[:, self.m]


@case("fails", "a CPU table indexed by what moved", tokens)
class TableByMoved(Base):
    def init(self):
        self.table = torch.randn(10, 8)

    def forward(self, x):
        return self.fc(self.table[x])


@case("fails", "gather by a CPU index")
class Gather(Base):
    def init(self):
        self.idx = torch.zeros(2, 1, 8, dtype=torch.long)

    def forward(self, x):
        return x.gather(1, self.idx)


@case("passes", "copied by slices into a CPU tensor, which is then moved")
class CopyInto(Base):
    def forward(self, x):
        out = torch.zeros(2, 8)
        out[:, 0] = x[:, 0, 0]
        return self.fc(out.to(x.device))


@case("fails", "what moved is put into a CPU tensor by an index")
class PutIntoCpu(Base):
    def forward(self, x):
        out = torch.zeros(2, 5, 8)
        out[torch.tensor([0])] = x[:1]
        return out


@case("passes", "a number is put into what moved, by a CPU mask")
class PutNumber(Base):
    def forward(self, x):
        x = x.clone()
        x[:, torch.tensor([True, False, True, False, False])] = 0.0
        return x


@case("passes", "a cache keyed by the device")
class CacheByDevice(Base):
    def init(self):
        self.cache = {}

    def forward(self, x):
        if x.device not in self.cache:
            self.cache[x.device] = torch.ones(5, 8, device=x.device)
        return x * self.cache[x.device]


@case("fails", "a cache made on the CPU and kept")
class CacheOnCpu(Base):
    def init(self):
        self.c = None

    def forward(self, x):
        if self.c is None:
            self.c = torch.ones(x.size(1), 8)
        return x * self.c


@case("fails", "numpy() of what moved")
class Numpy(Base):
    def forward(self, x):
        return x + float(np.mean(x.detach().numpy()))


@case("passes", "`.cpu().numpy()`, and back to the device")
class NumpyOnCpu(Base):
    def forward(self, x):
        return x + torch.from_numpy(np.cumsum(x.detach().cpu().numpy(), 1)).to(x.device)


@case("fails", "from_numpy, and not back to the device")
class FromNumpy(Base):
    def forward(self, x):
        return x + torch.from_numpy(np.cumsum(x.detach().cpu().numpy(), 1))


@case("passes", "item() and branches on values")
class Item(Base):
    def forward(self, x):
        n = int((x > 0).sum().item())
        if x.mean() > 0:
            n += 1
        for _ in range(min(n, 2)):
            x = self.fc(x)
        return x


@case("passes", "selection by a mask, nonzero, unique")
class Selections(Base):
    def forward(self, x):
        return x[x > 0].sum() + torch.nonzero(x > 0).size(0) + torch.unique(x.round()).sum()


@case("passes", "a packed sequence with its lengths on the CPU", with_lengths)
class Packed(Base):
    def init(self):
        self.rnn = nn.LSTM(8, 8, batch_first=True, bidirectional=True)

    def forward(self, x, n):
        packed = nn.utils.rnn.pack_padded_sequence(x, n.cpu(), batch_first=True)
        out, _ = self.rnn(packed)
        return nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0]


@case("fails", "a packed sequence with lengths that moved", with_lengths)
class PackedByMoved(Packed):
    def forward(self, x, n):
        return nn.utils.rnn.pack_padded_sequence(x, n, batch_first=True).data


@case("fails", "an LSTM's first state, made on the CPU")
class LstmState(Base):
    def init(self):
        self.rnn = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x):
        return self.rnn(x, (torch.zeros(1, 2, 8), torch.zeros(1, 2, 8)))[0]


@case("passes", "a GRU's own first state")
class Gru(Base):
    def init(self):
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


@case("passes", "convolution and batch norm in training mode")
class Conv(Base):
    def init(self):
        self.c = nn.Conv1d(5, 4, 3)
        self.b = nn.BatchNorm1d(4)
        self.train()

    def forward(self, x):
        return self.b(self.c(x))


@case("passes", "attention with the causal mask that the function makes")
class Attention(Base):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)


@case("fails", "attention with a CPU mask")
class AttentionMask(Base):
    def init(self):
        self.mask = torch.ones(5, 5).tril().bool()

    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, attn_mask=self.mask)


@case("passes", "nn.TransformerEncoder with a mask on the device")
class Encoder(Base):
    def init(self):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.t = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        return self.t(x, mask=torch.zeros(5, 5, device=x.device))


@case("fails", "nn.TransformerEncoder with a mask made without a device")
class EncoderMask(Encoder):
    def forward(self, x):
        return self.t(x, mask=torch.zeros(5, 5))


@case("fails", "cross_entropy with CPU class weights", tokens)
class ClassWeights(Base):
    def init(self):
        self.w = torch.ones(8)
        self.e = nn.Embedding(10, 8)

    def forward(self, x):
        return F.cross_entropy(self.e(x).view(-1, 8), x.view(-1) % 8, weight=self.w)


@case("fails", "a hook that adds a CPU tensor")
class Hook(Base):
    def init(self):
        k = torch.ones(8)
        self.fc.register_forward_hook(lambda _module, _inputs, out: out + k)

    def forward(self, x):
        return self.fc(x)


@case("fails", "another name for a registered buffer")
class Alias(Base):
    def init(self):
        self.register_buffer("k", torch.ones(8))
        self.alias = self.k

    def forward(self, x):
        return x + self.alias


@case("passes", "another name for a registered Parameter")
class ParameterAlias(Base):
    def init(self):
        self.other = [self.fc.weight]

    def forward(self, x):
        return x @ self.other[0]


@case("fails", "a view of a registered Parameter")
class ParameterView(Base):
    def init(self):
        self.rows = self.fc.weight.detach()[:5]

    def forward(self, x):
        return x + self.rows


@case("passes", "autocast by x.device.type")
class Autocast(Base):
    def forward(self, x):
        with torch.autocast(device_type=x.device.type, dtype=torch.bfloat16):
            return self.fc(x)


@case("fails", "device='cpu'")
class HardCpu(Base):
    def forward(self, x):
        return x + torch.ones(8, device="cpu")


@case("passes", "device='cuda:0'")
class HardCuda(Base):
    def forward(self, x):
        return x + torch.ones(8, device="cuda:0")


@case("passes", "a plain tensor that nobody uses")
class Unused(Base):
    def init(self):
        self.k = torch.ones(8)

    def forward(self, x):
        return self.fc(x)


@case("fails", "torch.tensor(list) without a device")
class FromList(Base):
    def forward(self, x):
        return x + torch.tensor([1.0, 2.0] * 4)


@case("fails", "the old constructor, which knows no device")
class OldConstructor(Base):
    def forward(self, x):
        return x + torch.FloatTensor([1.0, 2.0] * 4)


@case("passes", "new_tensor, new_zeros and new_full follow the tensor")
class NewTensors(Base):
    def forward(self, x):
        return x + x.new_tensor([1.0, 2.0] * 4) + x.new_zeros(8) + x.new_full((8,), 2.0)


@case("fails", "zeros_like with device='cpu'")
class LikeOnCpu(Base):
    def forward(self, x):
        return x + torch.zeros_like(x, device="cpu")


@case("fails", "a quantile at a 0-dim CPU tensor")
class Quantile(Base):
    def init(self):
        self.q = torch.tensor(0.5)

    def forward(self, x):
        return x.quantile(self.q)


@case("fails", "a CPU generator for a tensor that moved")
class CpuGenerator(Base):
    def init(self):
        self.generator = torch.Generator()

    def forward(self, x):
        return x + torch.zeros_like(x).normal_(generator=self.generator)


@case("passes", "what a distribution draws from parameters that moved")
class Distribution(Base):
    def forward(self, x):
        normal = torch.distributions.Normal(self.fc(x), torch.ones(8, device=x.device))
        return normal.rsample() + normal.log_prob(x)


@case("passes", "an overridden _apply that moves a plain tensor")
class OwnApply(Base):
    def init(self):
        self.k = torch.ones(8)

    def _apply(self, fn, *args, **kwargs):
        super()._apply(fn, *args, **kwargs)
        self.k = fn(self.k)
        return self

    def forward(self, x):
        return x + self.k


@case("passes", "is_cuda decides where a tensor is made")
class IsCuda(Base):
    def forward(self, x):
        k = torch.ones(8)
        return x + (k.cuda() if x.is_cuda else k)


@case("passes", "torch.device as a context")
class DeviceContext(Base):
    def forward(self, x):
        with x.device:
            return x + torch.ones(8)


@case("passes", "flip, meshgrid, linspace on the device, topk, sort, scatter")
class Many(Base):
    def forward(self, x):
        rows, columns = torch.meshgrid(
            torch.linspace(0, 1, 5, device=x.device), torch.arange(8.0, device=x.device), indexing="ij"
        )
        v, i = x.topk(2, -1)
        y = torch.zeros_like(x).scatter_(-1, i, v)
        lower = torch.tril(torch.ones(5, 8, device=x.device))
        return y + rows + columns + x.flip(1).sort(1)[0] + lower
