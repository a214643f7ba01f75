"""TensorFlow Serving's ``Classify``, ``Regress`` and ``MultiInference``: examples in, a result for each.

    Input ──examples.given_of──► Arguments ──infer──► answer ──┬─► labels with scores, for each example
                                                               └─► one number, for each example

What an answer's classes and values are is said where HTTP has them (``faces.predictions``).
tensorflow_serving/apis: classification.proto, regression.proto, inference.proto
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelpack.sdk.api import Arguments
from modelpack.server.faces import predictions
from modelpack.server.faces.catalog import Catalog, Served
from modelpack.server.faces.rows import Given
from modelpack.server.grpc.calls import Asked, Unary
from modelpack.server.grpc.examples import given_of
from modelpack.server.grpc.messages import Message, message
from modelpack.server.grpc.serving import Serving
from modelpack.server.grpc.specs import check_kind, tell_spec, with_signature
from modelpack.server.grpc.taking import answered, parsed_aside, taken
from modelpack.server.problems import Problem, RefusedRequest

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_ClassifyRequest = message("tensorflow.serving.ClassificationRequest")
_ClassifyResponse = message("tensorflow.serving.ClassificationResponse")
_RegressRequest = message("tensorflow.serving.RegressionRequest")
_RegressResponse = message("tensorflow.serving.RegressionResponse")
_MultiRequest = message("tensorflow.serving.MultiInferenceRequest")
_MultiResponse = message("tensorflow.serving.MultiInferenceResponse")

Fill = Callable[[Message, Any, Given], None]
"""Puts an answer into the result of a response."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What all apis of one call are asked."""

    examples: Message
    asked: Asked
    size_bytes: int
    """How long the request was."""


class Classifying:
    """The three methods."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.unary: dict[str, Unary] = {
            "Classify": self.classify,
            "Regress": self.regress,
            "MultiInference": self.multi,
        }

    async def classify(self, body: bytes, asked: Asked) -> bytes:
        """Return labels with scores."""
        request = await parsed_aside(_ClassifyRequest, body)
        response = _ClassifyResponse()
        question = _Question(request.input, asked, len(body))
        await self._answer(question, request, response, _classes)
        return _bytes(response)

    async def regress(self, body: bytes, asked: Asked) -> bytes:
        """Return numbers."""
        request = await parsed_aside(_RegressRequest, body)
        response = _RegressResponse()
        question = _Question(request.input, asked, len(body))
        await self._answer(question, request, response, _values)
        return _bytes(response)

    async def multi(self, body: bytes, asked: Asked) -> bytes:
        """Ask several apis about the same examples; all of them answer, or the call fails."""
        request = await parsed_aside(_MultiRequest, body)
        _check_tasks(self._serving.catalog(), request.tasks)
        question = _Question(request.input, asked, len(body))
        response = _MultiResponse()
        asking = []
        for task in request.tasks:
            result = response.results.add()
            fill = _classes if task.method_name == CLASSIFY else _values
            asking.append(self._answer(question, task, result, fill))
        await _all(asking)
        return _bytes(response)

    async def _answer(
        self, question: _Question, task: Message, response: Message, fill: Fill
    ) -> None:
        """Put what the api of a task's specification answers into a response."""
        asked, size_bytes = question.asked, question.size_bytes
        given: list[Given] = []

        def read(served: Served) -> tuple[Arguments, Asked]:
            check_kind(served)
            given[:] = [given_of(served, question.examples)]
            return given[0].arguments, asked

        one = await taken(
            self._serving,
            lambda catalog: with_signature(catalog, task.model_spec),
            read,
            size_bytes=size_bytes,
            is_raw=False,
            asked=asked,
        )
        await answered(one, asked, size_bytes, lambda answer: fill(response, answer, given[0]))
        tell_spec(response.model_spec, one.catalog, task.model_spec)


async def _all(asking: Sequence[Any]) -> None:
    """Wait for all; the first that fails is raised, and the others are given up."""
    tasks = [asyncio.ensure_future(one) for one in asking]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _check_tasks(catalog: Catalog, tasks: Sequence[Message]) -> None:
    """Raise RefusedRequest for what cannot be asked together, in TensorFlow Serving's words."""
    seen: set[str] = set()
    for task in tasks:
        if task.method_name not in (CLASSIFY, REGRESS):
            what = f"Unsupported signature method_name: {task.method_name[:100]}"
            raise RefusedRequest(Problem(501, "not-implemented", what))
        if task.model_spec.name != tasks[0].model_spec.name:
            what = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            raise RefusedRequest(Problem(400, "bad-input", what))
        name = with_signature(catalog, task.model_spec).api.name
        if name in seen:
            what = f"Duplicate evaluation of signature: {name}"
            raise RefusedRequest(Problem(400, "bad-input", what))
        seen.add(name)
    if not tasks:
        raise RefusedRequest(Problem(400, "bad-input", "a request without tasks"))


def _classes(response: Message, answer: Any, given: Given) -> None:
    result = _result(response, "classification_result")
    rows = given.rows or 0
    for classes in predictions.classes(answer, rows, is_each=given.is_each):
        one = result.classifications.add()
        for label, score in classes:
            one.classes.add(label=str(label), score=score)


def _values(response: Message, answer: Any, given: Given) -> None:
    result = _result(response, "regression_result")
    for value in predictions.values(answer, given.rows or 0, is_each=given.is_each):
        result.regressions.add(value=value)


def _result(response: Message, name: str) -> Message:
    """Return the result of a response, which one of several tasks has under a name of its own."""
    result = getattr(response, name if name in response.DESCRIPTOR.fields_by_name else "result")
    result.SetInParent()
    return result


def _bytes(response: Message) -> bytes:
    encoded: bytes = response.SerializeToString()
    return encoded
