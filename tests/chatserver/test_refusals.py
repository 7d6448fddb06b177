"""The table of refusals names what the code refuses by, and nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import chatserver
import policies
from chatserver.http.orders import ACTIVE_DISPUTE
from policies.refusals import REFUSALS

_NAMED_FIRST: Final = {"refuse", "NotTaken", "_refuse"}
_RAISED: Final = {"Refused", "Rejected", "Eligibility"}


def test_every_rule_is_in_the_table_and_every_one_of_the_table_is_a_rule() -> None:
    found = {rule for package in (policies, chatserver) for rule in _rules_of(package.__path__[0])}
    assert found | {ACTIVE_DISPUTE} == set(REFUSALS)


def _rules_of(folder: str) -> Iterator[str]:
    for file in Path(folder).rglob("*.py"):
        if file.name == "dispute_examples.py":  # of documents: made up
            continue
        tree = ast.parse(file.read_text())
        names = _named_constants(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield from _rules_in(node, names)
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "details":
                yield from _rules_of_details(node.value, names)


def _rules_in(call: ast.Call, names: dict[str, str]) -> Iterator[str]:
    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if called in _NAMED_FIRST:
        yield from (
            rule for each in call.args[:2] for rule in _words(each, names) if rule.islower() and " " not in rule
        )
    elif called in _RAISED:
        for each in call.keywords:
            if each.arg == "details":
                yield from _rules_of_details(each.value, names)
        rules = [each.value for each in call.keywords if each.arg == "rule"]
        rules += call.args[1:2] if called == "Eligibility" else []
        yield from (rule for each in rules for rule in _words(each, names))


def _rules_of_details(node: ast.expr, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "rule":
                yield from _words(value, names)


def _words(node: ast.expr, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name) and node.id in names:
        yield names[node.id]


def _named_constants(tree: ast.Module) -> dict[str, str]:
    return {
        node.target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
