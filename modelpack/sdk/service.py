"""Marks a plain class as a service and its methods as apis.

    @modelpack.service            the class stays a plain class: Digits().predict(x) just works
    class Digits:
        @modelpack.api(batch=True)
        def predict(self, x: Tensor["float32", "batch", 64]) -> Tensor["int64", "batch"]: ...

    class ──service──► ServiceSpec(name, apis, models, hooks) ──create()──► an instance to serve

Everything that is wrong with a signature is said as the class is decorated.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args, overload

import numpy as np

from modelpack.config.settings import BatchConfig
from modelpack.errors import ModelpackError, SignatureError, TagError, UsageError, UserCodeError
from modelpack.sdk.api import ApiSpec, Parameter
from modelpack.sdk.hints import answer_of, hints_of, value_of
from modelpack.sdk.model import Model
from modelpack.sdk.mounts import AsgiApp, Mount, add_mount, check_mounts, mounts_of
from modelpack.sdk.tensor import TensorValue
from modelpack.sdk.values import (
    MISSING,
    AnyValue,
    BoolValue,
    ChoiceValue,
    NumberValue,
    StringValue,
    Value,
)
from modelpack.tag import check_name, name_from

RESERVED_ROUTES = frozenset(
    {"/", "/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/static"}
)
"""Paths that the server answers itself."""

NanPolicy = Literal["null", "error"]
"""What becomes of NaN and infinities in the arrays of an api."""

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Class = TypeVar("_Class", bound=type)
_SERVICE, _API, _HOOK = "__modelpack_service__", "__modelpack_api__", "__modelpack_hook__"
_ROUTE = re.compile(r"(/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True)
class _ApiMark:
    route: str | None
    batch: BatchConfig | None
    example: Mapping[str, Any] | None
    nan: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """The compiled form of a class marked with ``@modelpack.service``."""

    name: str
    cls: type
    apis: tuple[ApiSpec, ...]
    models: Mapping[str, Model]
    """Saved models by the attribute that holds them."""
    startup_hooks: tuple[str, ...] = ()
    """Methods to call once before the first request; sync or async."""
    shutdown_hooks: tuple[str, ...] = ()
    """Methods to call once after the last answer; sync or async."""
    mounts: tuple[Mount, ...] = ()
    """Other applications below a path."""
    doc: str = ""

    def create(self) -> Any:
        """Make the instance and load its models; raises UserCodeError or ModelNotFoundError."""
        try:
            instance = self.cls()
        except ModelpackError:
            raise  # it says what to do
        except Exception as cause:
            raise UserCodeError(
                f"'{self.cls.__name__}' failed as it was made: {type(cause).__name__}: {cause}",
                hint="run again with -v to see where",
            ) from cause
        for attribute in self.models:
            getattr(instance, attribute)
        return instance


@overload
def service(cls: _Class, /) -> _Class: ...
@overload
def service(*, name: str | None = None) -> Callable[[_Class], _Class]: ...
def service(cls: type | None = None, /, *, name: str | None = None) -> Any:
    """Mark a class as a service.

    ``name`` is the bundle's name; default: the class name in kebab case.  The class itself is
    returned, unchanged.  Raises SignatureError when an api cannot be described.
    """

    def mark(cls: type) -> type:
        setattr(cls, _SERVICE, _compile(cls, name))
        return cls

    return mark if cls is None else mark(cls)


@overload
def api(function: _Function, /) -> _Function: ...
@overload
def api(
    *,
    route: str | None = None,
    batch: bool = False,
    max_batch_size: int = 32,
    latency_ms: float | None = None,
    max_wait_ms: float | None = None,
    preferred_batch_sizes: Sequence[int] = (),
    buckets: Sequence[int] = (),
    pad_value: float = 0.0,
    example: Mapping[str, Any] | None = None,
    nan: NanPolicy = "null",
) -> Callable[[_Function], _Function]: ...
def api(
    function: Callable[..., Any] | None = None,
    /,
    *,
    route: str | None = None,
    batch: bool = False,
    max_batch_size: int = 32,
    latency_ms: float | None = None,
    max_wait_ms: float | None = None,
    preferred_batch_sizes: Sequence[int] = (),
    buckets: Sequence[int] = (),
    pad_value: float = 0.0,
    example: Mapping[str, Any] | None = None,
    nan: NanPolicy = "null",
) -> Any:
    """Mark a method as an api: sync, async, or a generator, which streams.

    route           path it answers on; default ``/`` and the method's name
    batch           True: rows of several requests may share one call; the first axis of every
                    array or list parameter and of the answer is the batch
    max_batch_size  most rows in one call, 1 or more; default 32
    latency_ms      longest that a request should take, in milliseconds; default: no goal
    max_wait_ms     longest that a request is held for company, in milliseconds; default: nothing
                    waits, but for a goal that waiting helps
    preferred_batch_sizes
                    sizes, in rows, that are run as soon as requests make one up; default: any
    buckets         lengths to which axes of variable length are padded, so that requests of
                    different length share a call; default: only equal shapes do
    pad_value       what padding is made of; default 0
    example         a valid body, shown in the docs; default: made from the types
    nan             ``"null"``: NaN and infinities of an answer are ``null`` in JSON; ``"error"``:
                    an answer with one is a 500, a binary body with one a 400

    Raises UsageError for a value out of range.
    """
    try:
        config = BatchConfig(
            max_batch_size=max_batch_size,
            latency_ms=latency_ms,
            max_wait_ms=max_wait_ms,
            preferred_batch_sizes=tuple(preferred_batch_sizes),
            buckets=tuple(buckets),
            pad_value=pad_value,
        )
    except ValueError as cause:
        raise UsageError(f"@modelpack.api: {cause}") from cause

    if nan not in get_args(NanPolicy):
        raise UsageError(f"@modelpack.api: nan: must be 'null' or 'error', got {nan!r}")

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(function, _API, _ApiMark(route, config if batch else None, example, nan))
        return function

    return mark if function is None else mark(function)


def mount(path: str, app: AsgiApp) -> Callable[[_Class], _Class]:
    """Let an ASGI application answer below a path of a service.

    path  where, such as ``/ui``; not one that an api or the server itself answers on
    app   any ASGI application; its lifespan runs with the service, WebSockets reach it too

    A decorator of the class, above or below ``@modelpack.service``.  Raises SignatureError.
    """

    def mark(cls: _Class) -> _Class:
        spec = spec_of(cls) if is_service(cls) else None
        add_mount(cls, path, app, _taken(spec.apis if spec is not None else ()))
        if spec is not None:
            setattr(cls, _SERVICE, replace(spec, mounts=mounts_of(cls)))
        return cls

    return mark


def on_startup(function: _Function) -> _Function:
    """Mark a method to run once before the first request."""
    setattr(function, _HOOK, "startup")
    return function


def on_shutdown(function: _Function) -> _Function:
    """Mark a method to run once after the last answer."""
    setattr(function, _HOOK, "shutdown")
    return function


def is_service(thing: object) -> bool:
    """Say whether ``thing`` is a class marked with ``@modelpack.service``."""
    return isinstance(thing, type) and _SERVICE in vars(thing)


def spec_of(cls: type) -> ServiceSpec:
    """Return what was compiled from a service's class; raises UsageError for another class."""
    if not is_service(cls):
        raise UsageError(
            f"'{getattr(cls, '__name__', cls)}' is not a service",
            hint="put @modelpack.service above the class",
        )
    spec: ServiceSpec = vars(cls)[_SERVICE]
    return spec


def _compile(cls: type, name: str | None) -> ServiceSpec:
    try:
        checked = check_name(name) if name is not None else name_from(cls.__name__)
    except TagError as cause:
        raise SignatureError(f"{cls.__name__}: {cause.message}", hint=cause.hint) from cause
    members = {
        attribute: member
        for base in reversed(cls.__mro__)
        for attribute, member in vars(base).items()
    }
    apis = tuple(
        _compile_api(cls, attribute, member)
        for attribute, member in members.items()
        if hasattr(member, _API)
    )
    if not apis:
        raise SignatureError(
            f"'{cls.__name__}' has no api", hint="put @modelpack.api above a method"
        )
    routes = [one.route for one in apis]
    if twice := next((route for route in routes if routes.count(route) > 1), None):
        raise SignatureError(f"'{cls.__name__}' has two apis on '{twice}'", hint="change a route")
    check_mounts(cls, mounts_of(cls), _taken(apis))
    hooks = {a: getattr(m, _HOOK) for a, m in members.items() if hasattr(m, _HOOK)}
    return ServiceSpec(
        name=checked,
        cls=cls,
        apis=apis,
        models={a: m for a, m in members.items() if isinstance(m, Model)},
        startup_hooks=tuple(a for a, kind in hooks.items() if kind == "startup"),
        shutdown_hooks=tuple(a for a, kind in hooks.items() if kind == "shutdown"),
        mounts=mounts_of(cls),
        doc=inspect.cleandoc(cls.__doc__ or ""),
    )


def _taken(apis: Sequence[ApiSpec]) -> list[str]:
    """Return the paths on which something answers already."""
    return [*RESERVED_ROUTES, *(one.route for one in apis)]


def _compile_api(cls: type, attribute: str, function: Callable[..., Any]) -> ApiSpec:
    where = f"{cls.__name__}.{attribute}"
    mark: _ApiMark = getattr(function, _API)
    route = mark.route or f"/{attribute}"
    if not _ROUTE.fullmatch(route) or route in RESERVED_ROUTES:
        raise SignatureError(
            f"{where}: '{route}' cannot be a route",
            hint="use letters, digits, '-', '_', '.', '~' and '/'; the server keeps "
            + ", ".join(sorted(RESERVED_ROUTES)),
        )
    hints = hints_of(function, where)
    returns, is_stream = answer_of(hints.pop("return", Any), f"{where} returns")
    is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    spec = ApiSpec(
        name=attribute,
        route=route,
        attribute=attribute,
        parameters=_parameters(function, hints, where),
        returns=returns,
        batch=mark.batch,
        is_async=inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
        is_stream=is_stream or is_generator,
        doc=inspect.cleandoc(function.__doc__ or ""),
        example=mark.example,
        nan=mark.nan,
    )
    _check_batch(spec, where)
    return spec


def _parameters(
    function: Callable[..., Any], hints: Mapping[str, Any], where: str
) -> tuple[Parameter, ...]:
    found = []
    for name, one in list(inspect.signature(function).parameters.items())[1:]:  # without self
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY):
            raise SignatureError(
                f"{where}: '{name}' has no key in a JSON body",
                hint="give every parameter a plain name",
            )
        default = MISSING if one.default is one.empty else one.default
        value = value_of(hints.get(name, Any), f"{where}({name})")
        found.append(Parameter(name=name, value=value, default=default))
    return tuple(found)


_SCALARS = (NumberValue, BoolValue, StringValue, ChoiceValue)


def _check_batch(spec: ApiSpec, where: str) -> None:
    if spec.batch is None:
        return
    if spec.is_stream:
        raise SignatureError(f"{where}: a stream cannot be batched", hint="leave batch out")
    if not spec.batched:
        raise SignatureError(
            f"{where}: batch=True needs an array or list parameter",
            hint="its first axis is the batch, as in Tensor['float32', 'batch', 4] or list[str]",
        )
    if spec.batch.buckets:
        _check_padding(spec, spec.batch.pad_value, where)
    returns: Value = spec.returns
    if isinstance(returns, _SCALARS) or (
        not returns.has_rows and not isinstance(returns, AnyValue) and returns.is_file
    ):
        raise SignatureError(
            f"{where}: with batch=True the answer needs one row for each row of the request",
            hint="return an array or a list, or a mapping of them",
        )


def _check_padding(spec: ApiSpec, value: float, where: str) -> None:
    if not spec.variable_axes:
        raise SignatureError(
            f"{where}: buckets need an axis of variable length",
            hint="name it behind the first, as in Tensor['int64', 'batch', 'length']",
        )
    for parameter in spec.parameters:
        tensor = parameter.value
        if (
            isinstance(tensor, TensorValue)
            and parameter.name in spec.variable_axes
            and not _can_hold(tensor.spec.dtype, value)
        ):
            raise SignatureError(
                f"{where}({parameter.name}): pad_value {value:g} is not a number of its dtype",
                hint="choose one that every padded array can hold",
            )


def _can_hold(dtype: str, number: float) -> bool:
    if dtype.startswith("f"):
        return not abs(number) > float(np.finfo(dtype).max)
    if not float(number).is_integer():
        return False
    low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return low <= number <= high
