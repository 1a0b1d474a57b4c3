"""What must not be in the product's source, because it was dangerous or wrong somewhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from tests.architecture.source_tree import sources

FORBIDDEN_IMPORTS = {
    "pickle": "runs what the file says",
    "marshal": "crashes on what is not its own",
    "shelve": "is pickle",
    "dill": "is pickle",
    "cloudpickle": "is pickle",
    "joblib": "is pickle",
    "multiprocessing.shared_memory": "its resource tracker unlinks a live section when an attached process is killed",
}

FORBIDDEN_CALLS = {
    "eval": "runs text",
    "add_signal_handler": "is absent on Windows",
    "add_reader": "is absent on Windows' event loop",
    "add_writer": "is absent on Windows' event loop",
    "fork": "is absent on Windows, and unsafe with threads",
    "getLoadAverage": "is absent on Windows",
}

TEXT_CALLS = {"open", "read_text", "write_text", "fdopen"}


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", ""), node


@pytest.mark.parametrize(("module", "reason"), FORBIDDEN_IMPORTS.items())
def test_nobody_imports(module: str, reason: str):
    """A forbidden module, or a part of it."""
    found = [
        f"{file}:{line}"
        for file, tree in sources().items()
        for line, name in _imports(tree)
        if name == module or name.startswith(f"{module}.")
    ]
    assert found == [], f"{module} {reason}"


@pytest.mark.parametrize(("name", "reason"), FORBIDDEN_CALLS.items())
def test_nobody_calls(name: str, reason: str):
    """A forbidden function, on whatever object; torch's `module.eval()` is none, and `posix` is not Windows."""
    found = [
        f"{file}:{call.lineno}"
        for file, tree in sources().items()
        for called, call in _calls(tree)
        if called == name and (call.args or name != "eval") and not file.startswith("posix/")
    ]
    assert found == [], f"{name} {reason}"


def test_no_process_is_started_through_a_shell():
    """A shell reads more into an argument than was meant."""
    found = [
        f"{file}:{call.lineno}"
        for file, tree in sources().items()
        for name, call in _calls(tree)
        if name in {"system", "popen", "create_subprocess_shell"}
        or any(keyword.arg == "shell" for keyword in call.keywords)
    ]
    assert found == []


def test_torch_load_reads_weights_alone():
    """Anything else of torch.load is pickle."""
    found = [
        f"{file}:{call.lineno}"
        for file, tree in sources().items()
        for _, call in _calls(tree)
        if ast.unparse(call.func) == "torch.load"
        and not any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in call.keywords)
    ]
    assert found == []


def test_nothing_depends_on_assert():
    """`python -O` removes it; what must hold is checked with `if` and raises."""
    found = [
        f"{file}:{node.lineno}"
        for file, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_text_is_read_and_written_with_its_encoding_said():
    """Windows' own is not UTF-8."""
    found = [
        f"{file}:{call.lineno} {name}"
        for file, tree in sources().items()
        for name, call in _calls(tree)
        if name in TEXT_CALLS
        and ast.unparse(call.func) not in {"os.open", "wave.open"}
        and not _is_binary(call)
        and not any(keyword.arg == "encoding" for keyword in call.keywords)
    ]
    assert found == []


def test_no_function_changes_a_global():
    """State belongs to objects that somebody built and passed on."""
    found = [
        f"{file}:{node.lineno}"
        for file, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Global)
    ]
    assert found == []


def test_no_module_holds_a_mutable_variable():
    """Constants are upper case; a lower-case list, dict or set at the top of a module is state."""
    found = [
        f"{file}:{node.lineno} {ast.unparse(target)}"
        for file, tree in sources().items()
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.List | ast.Dict | ast.Set)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if not ast.unparse(target).strip("_").isupper() and ast.unparse(target) != "__all__"
    ]
    assert found == []


def test_waiting_out_a_deadline_never_uses_the_wall_clock():
    """time.time jumps, time.monotonic steps by 15 ms on Windows: rooms share contract.clock."""
    allowed = {"contract/clock.py"}
    found = [
        f"{file}:{call.lineno}"
        for file, tree in sources().items()
        if file not in allowed
        for _, call in _calls(tree)
        if ast.unparse(call.func) in {"time.monotonic", "time.monotonic_ns"}
    ]
    assert found == []


def _is_binary(call: ast.Call) -> bool:
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    is_method = isinstance(call.func, ast.Attribute) and call.func.attr != "fdopen"
    modes += call.args[:1] if is_method else call.args[1:2]
    return any(
        isinstance(mode, ast.Constant) and "b" in str(mode.value) and len(str(mode.value)) <= 3 for mode in modes
    )
