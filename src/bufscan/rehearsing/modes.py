"""torch's two modes, around one rehearsal, and what torch itself is made to say of the pretended device."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bufscan.rehearsing.dispatching import Dispatcher
    from bufscan.rehearsing.translating import Translator


@contextlib.contextmanager
def rehearsing(translator: Translator, dispatcher: Dispatcher) -> Iterator[None]:
    """All that the user's code asks of torch in this block goes through the two."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return translator.call(func, args, kwargs or {})

    class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # nothing is compiled here, and importing dynamo takes seconds

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # An operator that Python calls asks the function mode first, and this is no call of the user's.
            with torch._C.DisableTorchFunction():  # noqa: SLF001  # the documented way has no public name
                return dispatcher.run(func, args, kwargs or {})

    with _pretended_gpu(), Functions(), Operators():  # type: ignore[no-untyped-call]
        yield


@contextlib.contextmanager
def _pretended_gpu() -> Iterator[None]:
    """One GPU is there, as far as code asks whether to use one; what asks the driver for more fails as without."""
    import torch

    autocast = torch.amp.autocast_mode.autocast
    plain_init = autocast.__init__

    def init(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        """On the CPU where it should be on the GPU, with the type that this would cast to."""
        named = dict(zip(("dtype", "enabled", "cache_enabled"), args, strict=False)) | kwargs
        if device_type == "cuda":
            device_type, named["dtype"] = "cpu", named.get("dtype") or torch.get_autocast_dtype("cuda")
        plain_init(self, device_type, **named)

    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "is_bf16_supported": lambda *_, **__: True,
        "synchronize": lambda *_, **__: None,
        "empty_cache": lambda: None,
    }
    before = {name: getattr(torch.cuda, name) for name in answers}
    autocast.__init__ = init  # type: ignore[method-assign]
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    try:
        yield
    finally:
        for name, answer in before.items():
            setattr(torch.cuda, name, answer)
        autocast.__init__ = plain_init  # type: ignore[method-assign]
