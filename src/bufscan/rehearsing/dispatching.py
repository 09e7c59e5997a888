"""Every operator of a rehearsal: checked by what CUDA accepts, run on the CPU, its results tagged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bufscan.rehearsing.operators import Fault, Met, fault_of, is_torchs, name_of, result_tag, stays_of_results
from bufscan.rehearsing.tags import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from torch._ops import OpOverload

    from bufscan.rehearsing.course import Course
    from bufscan.rehearsing.tags import Tag

_FRESH = "lift_fresh"  # what a constructor does with the values that it was given
_ONE_TYPE = "takes tensors of one type only"
_NO_KERNEL = "not implemented for"


class Dispatcher:
    """Runs the operators of one rehearsal."""

    def __init__(self, course: Course, before_write: Callable[[torch.Tensor], None]) -> None:
        """`before_write` is called with every tensor that was there before and is about to be written to."""
        self._course = course
        self._before_write = before_write

    def run(self, operator: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What a dispatch mode hands over."""
        course = self._course
        met = [Met(tensor, course.tags.of(tensor)) for tensor in tensors_in((args, kwargs))]
        self._keep_what_is_written(operator, args, kwargs)
        self._check(operator, args, kwargs, met)
        try:
            out = _run_on_cpu(operator, args, kwargs)
        except RuntimeError:
            out = self._run_in_one_type(operator, args, kwargs)
        results = tensors_in(out)
        if results:
            self._tag(operator, met, results)
        return out

    def _run_in_one_type(self, operator: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What refused to run on several types, once more on the one that the model was cast to.

        Raises:
            RuntimeError: there are not several types.
        """
        from torch.utils._pytree import tree_map

        course = self._course
        floats = [tensor for tensor in tensors_in((args, kwargs)) if tensor.is_floating_point()]
        wide = [tensor for tensor in floats if course.is_wide(tensor)]
        if not wide or len({tensor.dtype for tensor in floats}) == 1:
            raise  # noqa: PLE0704  # the caller is handling it
        course.report(name_of(operator), Fault(wide[:1], _ONE_TYPE), wide[0].dtype)

        def cast(value: Any) -> Any:
            return value.to(course.dtype) if any(value is tensor for tensor in wide) else value

        same = tree_map(cast, (tuple(args), dict(kwargs)))
        return operator(*same[0], **same[1])

    def _check(
        self, operator: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], met: Sequence[Met]
    ) -> None:
        course = self._course
        if not is_torchs(operator):
            tags = {each.tag for each in met if not each.is_scalar}
            if {"moved", "stayed"} <= tags:
                course.undecided = f"`{operator}` is given tensors of both devices, and nobody knows what it takes"
            return
        fault = fault_of(operator, args, kwargs, met)
        if fault is not None:
            course.report(name_of(operator), fault)
        elif name_of(operator) == "copy" and met[0].tag == "moved" and met[1].tag == "stayed":
            course.carry(met[1].tensor)

    def _tag(self, operator: OpOverload, met: Sequence[Met], results: Sequence[torch.Tensor]) -> None:
        course = self._course
        tags = course.tags
        if name_of(operator) == _FRESH:
            if not tags.is_new(results[0]):
                tag = self._tag_of_made()
                tags.set(results[0], tag, course.origin if course.depth else course.origin_now())
            return
        if not met:
            tag = self._tag_of_made()
            origin = course.origin if course.depth or tag != "stayed" else course.origin_now()
        elif name_of(operator) == "_to_copy" and course.target is not None:
            tag, origin = course.target, NOWHERE
        else:
            tag, origin = result_tag(operator, met), NOWHERE
        if met and tag != "moved":
            origin = course.origin_of_result([each.tensor for each in met])
        tensors = [each.tensor for each in met]
        known = {tags.key_of(tensor) for tensor in tensors}
        left = stays_of_results(operator)
        for position, result in enumerate(results):
            if tags.key_of(result) not in known:
                made = course.origin_of_wide(result, tensors) if course.is_wide(result) else origin
                tags.set(result, "stayed" if position == left else tag, made)

    def _tag_of_made(self) -> Tag:
        """Where something lies that was made from no tensor.

        Outside every call that the function mode sees there are only the old constructors (`torch.Tensor(2, 3)`),
        and TorchScript where there is any.
        """
        course = self._course
        if course.target is not None:
            return course.target
        return "unknown" if course.depth or course.scripts else "stayed"

    def _keep_what_is_written(self, operator: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        schema = operator._schema  # noqa: SLF001  # torch has no public name for it
        if (
            name_of(operator) == "native_batch_norm"
        ):  # writes to the running statistics, and its schema does not say so
            written: list[Any] = list(args[3:5])
        elif schema.is_mutable:
            written = [
                args[position] if position < len(args) else kwargs.get(argument.name)
                for position, argument in enumerate(schema.arguments)
                if argument.alias_info is not None and argument.alias_info.is_write
            ]
        else:
            return
        for tensor in tensors_in(written):
            if not self._course.tags.is_new(tensor):
                self._before_write(tensor)


def tensors_in(values: Any) -> list[torch.Tensor]:
    """The tensors among arguments or results, however they are nested."""
    import torch
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def tensors_returned(out: Any) -> list[torch.Tensor]:
    """The tensors of what a model returned, those in the fields of an object that torch cannot look into too."""
    return tensors_in(out) or (tensors_in(dict(vars(out))) if hasattr(out, "__dict__") else [])


def _run_on_cpu(operator: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Where the CPU has no kernel for a type and CUDA has, by way of float32."""
    import torch
    from torch.utils._pytree import tree_map

    try:
        return operator(*args, **kwargs)
    except (NotImplementedError, RuntimeError) as error:
        types = {tensor.dtype for tensor in tensors_in((args, kwargs))} & {
            *(torch.float16, torch.bfloat16, torch.int32, torch.int16, torch.int8, torch.uint8)
        }
        if _NO_KERNEL not in str(error) or len(types) != 1 or operator._schema.is_mutable:  # noqa: SLF001
            raise
        (dtype,) = types

    def cast(value: Any, old: torch.dtype, new: torch.dtype) -> Any:
        return value.to(new) if isinstance(value, torch.Tensor) and value.dtype is old else value

    wide = tree_map(lambda value: cast(value, dtype, torch.float32), (tuple(args), dict(kwargs)))
    return tree_map(lambda value: cast(value, torch.float32, dtype), operator(*wide[0], **wide[1]))
