"""Small Python source, written and compiled: how converters lose their loops."""

from __future__ import annotations

from typing import Any


class Source:
    """Functions as text, and the objects they name."""

    def __init__(self, purpose: str) -> None:
        self.given: dict[str, Any] = {}
        self._purpose = purpose
        self._lines: list[str] = []
        self._count = 0
        self._bound: dict[int, str] = {}

    def name(self, stem: str) -> str:
        """Give a name that nothing has yet."""
        self._count += 1
        return f"{stem}__{self._count}"

    def bind(self, value: Any) -> str:
        """Give the name by which the source reaches an object."""
        if id(value) not in self._bound:
            name = self._bound[id(value)] = self.name("g")
            self.given[name] = value  # which also keeps it, so that its id stays its own
        return self._bound[id(value)]

    def add(self, *lines: str) -> None:
        self._lines += lines

    def guarded(
        self, path: str, test: str, variable: str, convert: str, *, indent: str = "    ", word: str = "if"
    ) -> list[str]:
        """Give the lines that convert a variable where a test asks for it, and name the field that does not fit."""
        if test == "False":
            return []
        return [
            f"{indent}{word} {test}:",
            f"{indent}    try: {variable} = {convert}({variable})",
            f"{indent}    except Mismatch as problem: raise problem.under({path!r}) from None",
        ]

    def run(self) -> dict[str, Any]:
        """Compile, and give the namespace."""
        code = compile("\n".join(self._lines), f"<micro.schema {self._purpose}>", "exec")
        exec(code, self.given)  # noqa: S102  # the text is ours: field names are checked identifiers, the rest is bound
        return self.given
