"""One api of each kind; nothing in it fails."""

from typing import Annotated

from modelpack import Range, Tensor, api, service


@service
class Plain:
    @api(batch=True)
    def double(self, x: Tensor["float32", "batch", 2]) -> Tensor["float32", "batch", 2]:
        return x * 2

    @api
    def age(self, years: Annotated[int, Range(0, 120)], name: str = "") -> str:
        return f"{name} is {years}"

    @api
    def echo(self, value: object) -> object:
        return value

    @api
    def fetch(self, url: str) -> str:
        return url

    @api
    def size(self, file: bytes) -> int:
        return len(file)
