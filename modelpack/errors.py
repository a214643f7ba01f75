"""Every error that modelpack raises on purpose, in one tree.

    ModelpackError                    exit 1  something failed
    ├── UsageError                    exit 2  the command or its words are wrong
    │   ├── ConfigError                       a project file, all its mistakes at once
    │   ├── TagError                          not a name or version
    │   ├── BadReferenceError                 not a place in a registry
    │   ├── ModuleMissingError                no such module
    │   ├── AttributeMissingError             the module has no such name
    │   ├── WrappedProgramError               a bundle that only its own image runs
    │   └── SignatureError                    an api that cannot be described
    ├── NotFoundError                 exit 3
    │   ├── ModelNotFoundError  BundleNotFoundError
    │   └── TargetNotFoundError DeploymentNotFoundError
    ├── RefusedError                  exit 4  asked for, but not safe to do
    │   ├── DigestMismatchError
    │   ├── UntrustedError                    no signature that counts
    │   ├── CodeModelError                    a model that runs code as it is loaded
    │   ├── LoginNeededError                  a registry wants to know who asks
    │   └── SecretFoundError
    ├── ConflictError                 exit 5  something else stands there already
    ├── ToolMissingError              exit 6  a program that is needed is not there
    ├── UserCodeError                 exit 1  the user's own module failed
    ├── PortInUseError  DeviceMissingError    exit 1
    ├── RegistryError                 exit 1
    │   └── UnreachableError                  no network, or nobody there
    ├── StoreError  BuildError  EngineError  DeployError   exit 1
    │                                         └── CredentialsError: nobody may be asked
    ├── BenchError  GoalMissedError  TooLargeError   exit 1
    ├── TaskStoreError                exit 1  tasks cannot be kept there
    ├── LambdaRuntimeError            exit 1
    ├── BatchError  BadRowsError      exit 1  a run over many rows
    ├── CallError                     exit 1  a server did not answer a call (client/errors.py)
    └── InputError                            a request that does not fit the signature

An error knows what to do next: the message says what happened, the hint what to do.  Both stay
on one line each.  Facts are attributes, so that nobody parses text.  HTTP statuses live in
``server/problems.py``; ``cli/main.py`` alone turns errors into exit statuses.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


class ModelpackError(Exception):
    """The root: ``code`` is a stable kebab-case word, ``exit_code`` the command's status."""

    code: str = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ModelpackError):
    """The command, an option or an argument is not of the form that is asked for."""

    code = "usage"
    exit_code = 2


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a file that people write; ``line`` and ``column`` count from 1."""

    file: str
    line: int | None
    column: int | None
    what: str

    def __str__(self) -> str:
        place = "".join(f":{n}" for n in (self.line, self.column) if n is not None)
        return f"{self.file}{place}: {self.what}"


class ConfigError(UsageError):
    """A project file has mistakes; all of them are in ``mistakes``, the message has the first ten."""

    code = "bad-config"

    def __init__(self, mistakes: Sequence[Mistake], *, hint: str | None = None) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes[:10]), hint=hint)
        self.mistakes = tuple(mistakes)


class TagError(UsageError):
    """The text is not ``NAME`` or ``NAME:VERSION``."""

    code = "bad-tag"


class BadReferenceError(UsageError):
    """The text does not name a place in a registry, a bucket or a folder."""

    code = "bad-reference"


class ModuleMissingError(UsageError):
    """An import string names a module that is not there."""

    code = "module-not-found"


class AttributeMissingError(UsageError):
    """An import string names something that its module does not have."""

    code = "attribute-not-found"


class SignatureError(UsageError):
    """The hints of an api cannot be turned into a request and an answer."""

    code = "bad-signature"


class WrappedProgramError(UsageError):
    """The bundle is a wrapped program, and modelpack was asked to serve it."""

    code = "wrapped-program"

    def __init__(self, what: object, tag: object = "TAG") -> None:
        super().__init__(
            f"'{what}' is a wrapped program, which only its own image runs",
            hint=f"modelpack containerize {tag}, then 'modelpack image run' or 'docker run -p'",
        )


class NotFoundError(ModelpackError):
    """A thing that was named is not there."""

    code = "not-found"
    exit_code = 3


class ModelNotFoundError(NotFoundError):
    """No saved model answers to the tag."""

    code = "model-not-found"


class BundleNotFoundError(NotFoundError):
    """No bundle in the store answers to the tag."""

    code = "bundle-not-found"


class TargetNotFoundError(NotFoundError):
    """No deploy target has that name."""

    code = "target-not-found"


class DeploymentNotFoundError(NotFoundError):
    """No deployment has that name."""

    code = "deployment-not-found"


class RefusedError(ModelpackError):
    """What was asked for is not safe to do."""

    code = "refused"
    exit_code = 4


class DigestMismatchError(RefusedError):
    """Bytes are not those that their digest names."""

    code = "digest-mismatch"


class UntrustedError(RefusedError):
    """There is no signature that counts, or one that does not fit what it stands at."""

    code = "untrusted"


class CodeModelError(RefusedError):
    """A model runs code as it is loaded, and that was ruled out."""

    code = "carries-code"


class SecretFoundError(RefusedError):
    """A file that looks like a secret would have been packed."""

    code = "secret-found"


class LoginNeededError(RefusedError):
    """A registry does not know who asks, or knows and says no."""

    code = "login-needed"


class ConflictError(ModelpackError):
    """Something different stands already under that name."""

    code = "conflict"
    exit_code = 5


class ToolMissingError(ModelpackError):
    """A program or service that this step needs is not there."""

    code = "tool-missing"
    exit_code = 6


class UserCodeError(ModelpackError):
    """The user's own module or class failed; the cause is chained."""

    code = "service-failed"


class DeviceMissingError(ModelpackError):
    """A device was asked for that this machine, or a library here, does not offer."""

    code = "device-missing"


class PortInUseError(ModelpackError):
    """The address to listen on is taken."""

    code = "port-in-use"


class StoreError(ModelpackError):
    """The store cannot be read or written."""

    code = "store-failed"


class RegistryError(ModelpackError):
    """A registry, or another remote place, cannot be read or written."""

    code = "registry-failed"


class UnreachableError(RegistryError):
    """A remote place does not answer: no network, no such host, nobody listens."""

    code = "unreachable"


class BuildError(ModelpackError):
    """A bundle could not be built."""

    code = "build-failed"


class EngineError(ModelpackError):
    """The container engine refused or failed a step."""

    code = "engine-failed"


class DeployError(ModelpackError):
    """A deployment could not be brought to its wanted state."""

    code = "deploy-failed"

    def __init__(
        self, message: str, *, hint: str | None = None, log_lines: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.log_lines = tuple(log_lines)


class CredentialsError(DeployError):
    """A target may not be asked: there are no credentials, or they do not count."""

    code = "credentials-missing"


class BenchError(ModelpackError):
    """A server cannot be put under load, or answers nothing but errors."""

    code = "bench-failed"


class BatchError(ModelpackError):
    """A run over many rows cannot begin, or cannot go on."""

    code = "batch-failed"


class BadRowsError(ModelpackError):
    """Rows of a run have no answer, more than were allowed for."""

    code = "bad-rows"


class TaskStoreError(ModelpackError):
    """Tasks cannot be kept in the place that was named."""

    code = "task-store"


class GoalMissedError(ModelpackError):
    """What was measured is not what was asked for."""

    code = "goal-missed"


class TooLargeError(ModelpackError):
    """An image takes more than it may."""

    code = "too-large"

    def __init__(self, message: str, *, hint: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(message, hint=hint)
        self.size_bytes = size_bytes
        """What is known of it."""
        self.limit_bytes = limit_bytes


class LambdaRuntimeError(ModelpackError):
    """Lambda's Runtime API cannot be reached, or does not answer as it should."""

    code = "lambda-runtime"


@dataclass(frozen=True, slots=True)
class Issue:
    """What is wrong with one place of a request; ``pointer`` is a JSON pointer (RFC 6901)."""

    pointer: str
    expected: str
    got: str
    is_refused: bool = False
    """True when the value has the right form but a declared range refuses it."""


class InputError(ModelpackError):
    """A request does not fit the signature of its api (HTTP 400).

    Raised by services too, as ``modelpack.InputError("age is negative")``, for values that they
    refuse; the server answers those with 422.
    """

    code = "bad-input"

    def __init__(
        self, message: str, *, issues: Iterable[Issue] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.issues = tuple(issues)

    @classmethod
    def of(cls, issues: Sequence[Issue]) -> Self:
        """Return the error for everything that does not fit, one thing at least."""
        first = issues[0]
        more = f", and {len(issues) - 1} more" if len(issues) > 1 else ""
        where = first.pointer or "the body"
        return cls(f"{where}: expected {first.expected}, got {first.got}{more}", issues=issues)

    @classmethod
    def at(cls, pointer: str, expected: str, got: str) -> Self:
        """Return the error for one place of a request; "": for all of it."""
        return cls.of([Issue(pointer, expected, got)])

    @property
    def is_refusal(self) -> bool:
        """True when the form is right and only values are refused (HTTP 422 instead of 400)."""
        return all(issue.is_refused for issue in self.issues)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the closest of the ``known`` words, or None when nothing is near."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return close[0] if close else None
