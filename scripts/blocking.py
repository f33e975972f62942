"""Writes `micro/_blocking/`, the types of the blocking twins, from the async faces; a test holds it to them.

python scripts/blocking.py
"""

import ast
import importlib
import sys
from pathlib import Path

from micro.blocking import MODULES

SOURCE = Path(__file__).parents[1] / "micro-core" / "src" / "micro"
FOLDER = SOURCE / "_blocking"
# What faces give that is async itself, and so is wrapped: by primitive, the class and the module it is in.
TWINS = {
    "auth": {"Accounts": "api", "Rules": "api"},
    "broker": {"Subscription": "api"},
    "events": {"Consumption": "consumption", "Delivered": "consumption"},
    "store": {"Store": "api", "Batch": "batches", "Collection": "collections"},
}
PLAIN = {
    "AsyncGenerator": "Iterator", "AsyncIterator": "Iterator", "AbstractAsyncContextManager": "AbstractContextManager",
}  # fmt: skip
ENTERED = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Page:
    """One primitive's stub."""

    def __init__(self, primitive: str) -> None:
        self.primitive = primitive
        self.twins = TWINS.get(primitive, {})
        self.modules = {
            name: ast.parse((SOURCE / primitive / f"{name}.py").read_text())
            for name in dict.fromkeys(["face", *self.twins.values()])
        }

    def text(self) -> str:
        body: list[ast.stmt] = []
        for name, module in self.twins.items():
            (cls,) = (n for n in self.modules[module].body if isinstance(n, ast.ClassDef) and n.name == name)
            body.append(self.twin(cls))
        public = importlib.import_module(f"micro.{self.primitive}").__all__
        body += self.functions(self.modules["face"].body, public)
        classes = [name for name in public if not any(getattr(each, "name", "") == name for each in body)]
        for node in self.modules["face"].body:  # parts: `accounts = cast("Accounts", …)`
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and node.targets[0].id in classes:
                classes.remove(node.targets[0].id)
                body.append(ast.parse(f"{node.targets[0].id}: _{ast.literal_eval(node.value.args[0])}").body[0])
        body = [_Builtins().visit(node) for node in body]
        kept = [f"from micro.{self.primitive} import {name} as {name}" for name in classes]
        text = "\n\n".join(ast.unparse(ast.fix_missing_locations(node)) for node in body)
        return "\n".join([*self.imports(text, set(classes)), *kept, "", text, ""])

    def functions(self, nodes: list[ast.stmt], public: list[str]) -> list[ast.stmt]:
        found = [n for n in nodes if isinstance(n, Function) and n.name in public]
        typed = {n.name for n in found if _decorated(n, "overload")}
        return [self.plain(n) for n in found if n.name not in typed or _decorated(n, "overload")]

    def plain(self, node: Function, name: str = "") -> ast.FunctionDef:
        """Make a function that waits: its arguments, and what it gives, wrapped."""
        arguments = ast.parse(ast.unparse(node.args).join(("def f(", "): ..."))).body[0].args
        arguments.defaults = [_shown(each) for each in arguments.defaults]
        arguments.kw_defaults = [each and _shown(each) for each in arguments.kw_defaults]
        doc = ast.get_docstring(node)
        body = [ast.Expr(ast.Constant(doc.partition("\n")[0]))] if doc else []
        kept = [each for each in node.decorator_list if ast.unparse(each) in {"overload", "property"}]
        gives = self.waited(node.returns) if node.returns is not None else None
        return ast.FunctionDef(name or node.name, arguments, [*body, ast.Expr(ast.Constant(...))], kept, gives)

    def waited(self, node: ast.expr) -> ast.expr:
        """Turn what is given into what a wrapper gives: as far as it is wrapped, lists are not."""
        if isinstance(node, ast.Name) and node.id in self.twins:
            return ast.Name(f"_{node.id}")
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            plain = PLAIN.get(node.value.id)
            if plain is not None:
                inner = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
                return ast.Subscript(ast.Name(plain), self.waited(inner))
            return ast.Subscript(self.waited(node.value), node.slice)
        return node

    def twin(self, cls: ast.ClassDef) -> ast.ClassDef:
        methods = {n.name: n for n in cls.body if isinstance(n, Function)}
        body: list[ast.stmt] = [*_attributes(methods.get("__init__"))]
        body += self.functions(cls.body, [name for name in methods if not name.startswith("_")])
        for name, plain in ENTERED.items():
            if name == "__aexit__" and name in methods:
                body.append(ast.parse("def __exit__(self, *exc: object) -> bool | None: ...").body[0])
            elif name in methods:
                body.append(self.plain(methods[name], plain))
        bases = [base for base in cls.bases if ast.unparse(base).startswith("Generic[")]
        return ast.ClassDef(f"_{cls.name}", bases, [], body or [ast.Pass()], [])

    def imports(self, text: str, known: set[str]) -> list[str]:
        """Bring what the text names, from where its sources have it."""
        names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
        used = {node.id for node in names if isinstance(node.ctx, ast.Load)} - known
        lines = {
            "import builtins": "builtins",
            "from collections.abc import Iterator": "Iterator",
            "from contextlib import AbstractContextManager": "AbstractContextManager",
        }
        for module, tree in self.modules.items():
            for node in _statements(tree):
                if isinstance(node, ast.ImportFrom) and node.module != "__future__":
                    lines |= {f"from {node.module} import {_alias(n)}": n.asname or n.name for n in node.names}
                elif isinstance(node, ast.Import):
                    lines |= {f"import {_alias(n)}": n.asname or n.name for n in node.names}
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    name = node.targets[0].id
                    lines |= {f"from micro.{self.primitive}.{module} import {name}": name}
        first: dict[str, str] = {}
        for line, name in lines.items():
            if name in used:
                first.setdefault(name, line)
        return sorted(first.values())


class _Builtins(ast.NodeTransformer):
    """Says whose `list` is meant: faces have a function of that name."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Attribute(ast.Name("builtins"), node.id) if node.id in {"list", "set"} else node


def _statements(tree: ast.Module) -> list[ast.stmt]:
    found: list[ast.stmt] = []
    for node in tree.body:
        found += node.body if isinstance(node, ast.If) else [node]
    return found


def _attributes(init: Function | None) -> list[ast.stmt]:
    """Give the public attributes that a constructor makes, as far as their types are written there."""
    given = {a.arg: a.annotation for a in [*init.args.args, *init.args.kwonlyargs]} if init is not None else {}
    found: list[ast.stmt] = []
    for node in init.body if init is not None else []:
        target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
        if not isinstance(target, ast.Attribute) or target.attr.startswith("_"):
            continue
        type_ = node.annotation if isinstance(node, ast.AnnAssign) else given.get(getattr(node.value, "id", ""))
        if type_ is None and isinstance(node.value, ast.Constant):
            type_ = ast.Name(type(node.value.value).__name__)
        if type_ is not None:
            found.append(ast.parse(f"{target.attr}: {ast.unparse(type_)}").body[0])
    return found


def _decorated(node: Function, name: str) -> bool:
    return any(ast.unparse(each) == name for each in node.decorator_list)


def _shown(default: ast.expr) -> ast.expr:
    return default if isinstance(default, ast.Constant) else ast.Constant(...)


def _alias(name: ast.alias) -> str:
    return f"{name.name} as {name.asname}" if name.asname else name.name


def pages() -> dict[str, str]:
    """Give each file's text by its name."""
    head = '"""The types of micro.blocking.{}, written by scripts/blocking.py."""\n\n'
    found = {f"{name}.pyi": head.format(name) + Page(name).text() for name in MODULES}
    return {
        "__init__.pyi": '"""Types alone, for checkers: see micro.blocking. Written by scripts/blocking.py."""\n'
    } | found


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
    sys.stdout.write(f"{FOLDER} is written\n")
