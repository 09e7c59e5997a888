"""Builds as many modules of real packages as it can and counts what bufscan says of them. Run by hand:

    python tests/zoo/census.py [PACKAGE ...] [--list FILE]

Every class whose constructor takes arguments that can be guessed is built, scanned and, where it can be copied,
moved to float64: the tensors that did not follow must be those that the scan says stay behind. What is not
harmless goes to FILE, one line a place, to be read by a person.
"""

# ruff: noqa: T201, BLE001, S112
# It prints its results, and a class that cannot be built for whatever reason is only counted.

from __future__ import annotations

import argparse
import collections
import copy
import gc
import importlib
import inspect
import os
import pkgutil
import re
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ["HF_HUB_OFFLINE"] = "1"  # some constructors fetch weights

import torch
from torch import nn

from bufscan.dtypes import DTYPES
from bufscan.inventory import HARMLESS_HOLDINGS
from bufscan.live.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bufscan.inventory import Inventory, Tensor

MOST_PARAMETERS = 40_000_000
DIMENSION = 8


class Built(NamedTuple):
    """A module of a package, or why it could not be made."""

    name: str
    module: nn.Module | None


_GUESSES: dict[str, Any] = {
    **dict.fromkeys(("num_classes", "n_classes", "num_labels", "classes", "out_classes", "num_outputs"), 3),
    **dict.fromkeys(
        ("in_channels", "in_features", "input_size", "channels", "dim", "hidden_size", "d_model"), DIMENSION
    ),
    **dict.fromkeys(
        ("out_channels", "out_features", "output_size", "embed_dim", "embedding_dim", "features"), DIMENSION
    ),
    **dict.fromkeys(
        ("hidden_channels", "hidden_dim", "input_dim", "output_dim", "codebook_size", "dims"), DIMENSION
    ),
    **dict.fromkeys(("num_heads", "heads", "nhead", "n_heads"), 2),
    **dict.fromkeys(("num_layers", "depth", "n_layers", "num_tasks", "spatial_dims", "num_relations"), 2),
    **dict.fromkeys(("kernel_size", "window_size", "patch_size"), 3),
    **dict.fromkeys(("img_size", "image_size"), 32),
    **dict.fromkeys(("beta", "alpha", "threshold", "p", "dropout"), 0.5),
    **dict.fromkeys(("n_fft", "win_length"), 64),
    **dict.fromkeys(("sample_rate", "sampling_rate", "fs"), 8000),
    "task": "multiclass",
    "num_tokens": 50,
    "max_seq_len": 16,
    "num_nodes": 5,
    "K": 2,
    "max_len": 16,
    "average": "macro",
    "base_kernel": None,
}


def arguments_of(cls: type) -> dict[str, Any] | None:
    """Values for the arguments that have no default; None where one cannot be guessed."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (ValueError, TypeError):
        return None
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if any(name not in _GUESSES for name in needed):
        return None
    return {name: _GUESSES[name] for name in needed}


_NO_LIBRARY = re.compile(r"test|script|__main__|cli")


def classes_of(package: str, depth: int = 3) -> Iterator[type[nn.Module]]:
    """The module classes that a package defines, found by importing its submodules."""
    root = importlib.import_module(package)
    seen: set[type] = set()
    names = [package]
    if hasattr(root, "__path__"):
        found = pkgutil.walk_packages(root.__path__, package + ".", onerror=lambda _: None)
        deepest = package.count(".") + depth
        names += [
            info.name for info in found if info.name.count(".") <= deepest and not _NO_LIBRARY.search(info.name)
        ]
    for name in names:
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit):  # optional dependencies
            continue
        for value in list(vars(module).values()):
            if (
                inspect.isclass(value)
                and issubclass(value, nn.Module)
                and value.__module__.startswith(package)
                and value not in seen
                and not inspect.isabstract(value)
            ):
                seen.add(value)
                yield value


def guessed(package: str) -> Iterator[Built]:
    """Every class of the package that guessed arguments make."""
    for cls in classes_of(package):
        arguments = arguments_of(cls)
        module = None
        if arguments is not None:
            try:
                module = cls(**arguments)
            except (Exception, SystemExit):  # a guess that was wrong
                module = None
        yield Built(f"{cls.__module__}.{cls.__name__}", module)


_TINY = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "dim", "embed_dim", "n_embd", "word_embed_proj_dim", "projection_dim"), 32
    ),
    **dict.fromkeys(("hidden_dim", "emb_dim", "embedding_size", "decoder_hidden_size", "encoder_hidden_size"), 32),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers", "n_layers"), 2
    ),
    **dict.fromkeys(("num_decoder_layers", "num_encoder_layers", "depth"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "num_key_value_heads"), 4),
    **dict.fromkeys(("intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner"), 37),
    **dict.fromkeys(("moe_intermediate_size", "mlp_dim", "ffn_hidden_size"), 32),
    **dict.fromkeys(("vocab_size", "vocabulary_size"), 120),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "max_source_positions", "max_target_positions"), 64
    ),
    **dict.fromkeys(("head_dim", "d_kv", "kv_channels"), 8),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1),
}


def _shrink(config: Any, seen: set[int]) -> None:
    if id(config) in seen:
        return
    seen.add(id(config))
    for name, value in list(vars(config).items()):
        if hasattr(value, "to_diff_dict"):
            _shrink(value, seen)
        elif name in _TINY and isinstance(value, int) and not isinstance(value, bool) and value > _TINY[name]:
            setattr(config, name, _TINY[name])


def transformers_models(_: str) -> Iterator[Built]:
    """Every base model of transformers, from a config shrunk as far as it lets itself."""
    import transformers

    transformers.logging.set_verbosity_error()
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    for key in list(CONFIG_MAPPING.keys()):
        try:
            config_class = CONFIG_MAPPING[key]
            found = MODEL_MAPPING.get(config_class, None)
            model_class = found[0] if isinstance(found, (tuple, list)) else found
        except Exception:  # optional dependencies
            continue
        if model_class is None:
            continue
        yield Built(f"transformers.{model_class.__name__}", _tiny_model(config_class, model_class))


def _tiny_model(config_class: Any, model_class: Any) -> nn.Module | None:
    for shrink in (True, False):
        try:
            config = config_class()
            if shrink:
                _shrink(config, set())
            with torch.device("meta"):
                size = sum(p.numel() for p in model_class(copy.deepcopy(config)).parameters())
            if size > MOST_PARAMETERS:
                with torch.device("meta"):
                    return model_class(config)  # type: ignore[no-any-return]
            return model_class(config)  # type: ignore[no-any-return]
        except (Exception, SystemExit):  # sizes that do not fit together
            continue
    return None


def timm_models(_: str) -> Iterator[Built]:
    """One small model of each timm family."""
    import timm

    families: dict[str, str] = {}
    for name in timm.list_models():
        family = timm.models.model_entrypoint(name).__module__
        if family not in families or len(name) < len(families[family]):
            families[family] = name
    for name in families.values():
        try:
            with torch.device("meta"):
                size = sum(p.numel() for p in timm.create_model(name).parameters())
            if size > MOST_PARAMETERS:
                continue
            yield Built(f"timm.{name}", timm.create_model(name))
        except Exception:
            yield Built(f"timm.{name}", None)


def peft_models(_: str) -> Iterator[Built]:
    """A tiny Llama with each kind of adapter."""
    import peft
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    for name in sorted(dir(peft)):
        cls = getattr(peft, name)
        if not (inspect.isclass(cls) and issubclass(cls, peft.PeftConfig)) or cls is peft.PeftConfig:
            continue
        try:
            options = (
                {"target_modules": ["q_proj", "v_proj"]}
                if "target_modules" in inspect.signature(cls).parameters
                else {}
            )
            model = peft.get_peft_model(
                LlamaForCausalLM(LlamaConfig(vocab_size=100, **size)), cls(task_type="CAUSAL_LM", **options)
            )
        except Exception:
            model = None
        yield Built(f"peft.{name}", model)


def e3nn_modules(_: str) -> Iterator[Built]:
    """Modules over irreps, whose constructors take strings of their own."""
    from e3nn import nn as e3nn_nn
    from e3nn import o3

    makers: dict[str, Callable[[], nn.Module]] = {
        "Linear": lambda: o3.Linear("4x0e+2x1o", "3x0e+1x1o"),
        "FullyConnectedTensorProduct": lambda: o3.FullyConnectedTensorProduct(
            "4x0e+2x1o", "2x0e+1x1o", "3x0e+1x1o"
        ),
        "FullTensorProduct": lambda: o3.FullTensorProduct("2x0e+1x1o", "1x0e+1x1o"),
        "ElementwiseTensorProduct": lambda: o3.ElementwiseTensorProduct("2x0e+1x1o", "3x0e"),
        "SphericalHarmonics": lambda: o3.SphericalHarmonics([0, 1, 2], normalize=True),
        "Norm": lambda: o3.Norm("2x0e+1x1o"),
        "Gate": lambda: e3nn_nn.Gate("4x0e", [torch.tanh], "2x0e", [torch.sigmoid], "2x1o"),
        "BatchNorm": lambda: e3nn_nn.BatchNorm("4x0e+2x1o"),
        "FullyConnectedNet": lambda: e3nn_nn.FullyConnectedNet([2, 4, 3], torch.tanh),
        "ReducedTensorProducts": lambda: o3.ReducedTensorProducts("ij=-ji", i="1o"),
        "ToS2Grid": lambda: o3.ToS2Grid(2, (6, 5)),
    }
    for name, make in makers.items():
        try:
            yield Built(f"e3nn.{name}", make())
        except Exception:
            yield Built(f"e3nn.{name}", None)


def on_meta(package: str) -> Iterator[Built]:
    """As `guessed`, on the meta device."""
    with torch.device("meta"):
        yield from guessed(package)


COLLECTIONS: dict[str, Callable[[str], Iterator[Built]]] = {
    "torch.nn": guessed,
    "transformers": transformers_models,
    "torchmetrics": guessed,
    "timm": timm_models,
    "peft": peft_models,
    "e3nn": e3nn_modules,
    "torch_geometric.nn": guessed,
    "gpytorch": guessed,
    "monai": guessed,
    "kornia": guessed,
    "torchaudio": guessed,
    "torchvision": guessed,
    "snntorch": guessed,
    "x_transformers": guessed,
    "vector_quantize_pytorch": guessed,
    "diffusers": on_meta,  # default sizes of gigabytes
    "open_clip": guessed,
    "segmentation_models_pytorch": guessed,
}


class Count:
    """What was seen in one package."""

    def __init__(self) -> None:
        self.built = self.failed = self.copied = 0
        self.roles: collections.Counter[str] = collections.Counter()
        self.holdings: collections.Counter[str] = collections.Counter()
        self.names: collections.Counter[str] = collections.Counter()
        self.skipped: collections.Counter[str] = collections.Counter()
        self.places: dict[str, str] = {}
        self.untrue: list[str] = []
        self.seconds = 0.0

    def add(self, name: str, module: nn.Module) -> None:
        start = time.perf_counter()
        inventory = scan(module, name)
        self.seconds += time.perf_counter() - start
        self.built += 1
        self.skipped.update(f"{skipped.reason[:90]} [{name}: {skipped.what}]" for skipped in inventory.skipped)
        for tensor in inventory.tensors:
            self.roles[tensor.role] += 1
            if tensor.role == "unregistered" and tensor.holding is not None:
                self.holdings[tensor.holding] += 1
                if tensor.holding not in HARMLESS_HOLDINGS:
                    self._note(name, tensor)
            elif tensor.holding is not None or (tensor.role.endswith("buffer") and tensor.requires_grad):
                self._note(name, tensor)
        self._prove(name, module, inventory)

    def _note(self, name: str, tensor: Tensor) -> None:
        generic = re.sub(r"\d+", "N", tensor.name)
        self.names[re.sub(r"\[.*?\]", "", tensor.name).rpartition(".")[2]] += 1
        where = (
            f"{tensor.origin.file.partition('site-packages/')[2] or tensor.origin.file}:{tensor.origin.line}"
            if tensor.origin
            else "?"
        )
        key = f"{tensor.holding} | {where} | {tensor.evidence}"
        self.places.setdefault(key, f"{name} | {generic} | {tensor.shape} {tensor.dtype} | {tensor.suggestion}")

    def _prove(self, name: str, module: nn.Module, inventory: Inventory) -> None:
        """The truth test: a real `.to(float64)` of a copy moves exactly what the scan says."""
        if any(tensor.device == "meta" for tensor in inventory.tensors):
            return
        try:
            moved = copy.deepcopy(module).to(torch.float64)
        except (Exception, SystemExit):
            return
        self.copied += 1
        after = {tensor.name: tensor for tensor in scan(moved, name).tensors}
        for tensor in inventory.tensors:
            if tensor.dtype in (None, "float64") or DTYPES[tensor.dtype].kind != "float" or tensor.moves is None:
                continue
            if tensor.name not in after:
                self.untrue.append(f"{name}: {tensor.name} is gone after the move ({tensor.holding})")
            elif (after[tensor.name].dtype == "float64") != tensor.moves:
                self.untrue.append(
                    f"{name}: {tensor.name} ({tensor.holding}) said moves={tensor.moves}, "
                    f"became {after[tensor.name].dtype}"
                )


def _no_download(url: str, *_: Any, **__: Any) -> None:
    raise RuntimeError(f"weights are not fetched: {url}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", default=list(COLLECTIONS))
    parser.add_argument("--list", help="file for every place that is not harmless")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.hub.load_state_dict_from_url = torch.hub.download_url_to_file = _no_download
    names: collections.Counter[str] = collections.Counter()
    lines: list[str] = []
    for package in chosen.packages:
        count = Count()
        try:
            for name, module in COLLECTIONS.get(package, guessed)(package):
                if module is None:
                    count.failed += 1
                else:
                    count.add(name, module)
                    del module
                    gc.collect() if count.built % 20 == 0 else None
        except (ImportError, OSError) as error:  # a wheel built for other libraries
            print(f"{package}: {error}")
            continue
        names.update(count.names)
        built = f"{count.built} built, {count.failed} not; {count.copied} moved"
        print(f"\n== {package}: {built}; {count.seconds:.1f} s in scans")
        print("   roles    ", dict(count.roles))
        print("   holdings ", dict(count.holdings))
        print("   places   ", len(count.places), "that are not harmless")
        for reason, number in count.skipped.most_common(8):
            print("   skipped  ", number, reason)
        for line in count.untrue[:12]:
            print("   UNTRUE   ", line)
        lines += [f"{package} | {key} | {value}" for key, value in count.places.items()]
        sys.stdout.flush()
    print("\nmost frequent names:", names.most_common(10))
    if chosen.list:
        Path(chosen.list).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
