"""A check on the tests: one that builds resources without `@pulumi.runtime.test` passes whatever it asserts."""

import ast
from collections.abc import Iterator
from pathlib import Path

DECORATOR = "pulumi.runtime.test"
BUILDERS = {"Token", "Integration", "LocalPlatform"}


def undecorated(source: str) -> list[str]:
    """The names of the functions, in a module's tests, that build resources and don't wait for them."""
    tests = [
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    return [
        function.name
        for test in tests
        for function in ast.walk(test)
        if isinstance(function, ast.FunctionDef) and builds(function)
        if DECORATOR not in map(ast.unparse, function.decorator_list)
    ]


def builds(function: ast.FunctionDef) -> bool:
    """Whether the function itself, and not one inside it, builds a resource."""
    return any(isinstance(node, ast.Call) and ast.unparse(node.func) in BUILDERS for node in own(function))


def own(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from own(child)


def test_every_test_that_builds_resources_waits_for_them() -> None:
    modules = sorted(Path(__file__).parent.glob("test_*.py"))
    assert {path.name: undecorated(path.read_text()) for path in modules} == {path.name: [] for path in modules}


def test_the_check_finds_those_that_do_not() -> None:
    """Control."""
    assert undecorated("def test_x():\n  made = Integration(a, b)") == ["test_x"]
    assert undecorated("def test_x():\n  def build():\n    Token(a)\n  build()") == ["build"]
    assert undecorated("def test_x():\n  @pulumi.runtime.test\n  def build():\n    Token(a)\n  build()") == []
    assert undecorated("@pulumi.runtime.test\ndef test_z(): return Token(a)") == []
