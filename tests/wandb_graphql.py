"""GraphQL without a schema: what a query asks for is looked up on plain Python objects.

A field is an attribute, or a method that takes the field's arguments.  One that an object does not have is answered with
null and noted by name, so that what a new SDK needs shows up in a test instead of passing silently.
"""

import json
from typing import Any

from graphql import parse
from graphql.language import ast

ANY = "*"
"""Among a thing's kinds: whatever a query calls it by."""


class Thing:
    """What fields are looked up on."""

    kinds: tuple[str, ...] = ()
    """What it is called in the schema, its interfaces included; its class's name if nothing else is said."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


def kinds(thing: Any) -> tuple[str, ...]:
    """The names a query may call it by."""
    return thing.kinds or (type(thing).__name__,)


def connection(things: list[Any], first: int | None = None, after: str | None = None) -> Thing:
    """A page of ``things``, from behind the cursor ``after``."""
    start = int(after) + 1 if after else 0
    end = len(things) if first is None else min(len(things), start + first)
    edges = [Thing(kinds=("Edge", ANY), node=things[i], cursor=str(i), version=getattr(things[i], "version", None))
             for i in range(start, end)]
    page = Thing(kinds=("PageInfo", ANY), hasNextPage=end < len(things), hasPreviousPage=start > 0, startCursor=str(start),
                 endCursor=str(end - 1) if edges else None)
    return Thing(kinds=("Connection", ANY), edges=edges, pageInfo=page, totalCount=len(things))


def execute(root: Any, request: dict[str, Any], unknown: list[str]) -> dict[str, Any]:
    """The answer's ``data``.  ``root`` has ``query`` and ``mutation``; names it lacks are added to ``unknown``."""
    document = parse(request["query"])
    operations = [d for d in document.definitions if isinstance(d, ast.OperationDefinitionNode)]
    operation = next((o for o in operations if o.name and o.name.value == request.get("operationName")), operations[0])
    defaults = {v.variable.name.value: _value(v.default_value, {}) for v in operation.variable_definitions or ()
                    if v.default_value}
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, ast.FragmentDefinitionNode)}
    asked = _Asked(fragments, {**defaults, **(request.get("variables") or {})}, unknown)
    return asked.object(getattr(root, operation.operation.value), [operation.selection_set])


class _Asked:
    """One request on its way through the objects."""

    def __init__(self, fragments: dict[str, Any], variables: dict[str, Any], unknown: list[str]) -> None:
        self.fragments, self.variables, self.unknown = fragments, variables, unknown

    def object(self, thing: Any, selections: list[Any]) -> dict[str, Any]:
        fields: dict[str, list[Any]] = {}
        for selection in selections:
            self._collect(thing, selection, fields)
        return {key: self._field(thing, nodes) for key, nodes in fields.items()}

    def _collect(self, thing: Any, selections: Any, fields: dict[str, list[Any]]) -> None:
        for node in selections.selections:
            if any((d.name.value == "include") != bool(_value(d.arguments[0].value, self.variables))
                   for d in node.directives or () if d.name.value in ("include", "skip")):
                continue
            if isinstance(node, ast.FieldNode):
                fields.setdefault((node.alias or node.name).value, []).append(node)
            else:
                part = self.fragments[node.name.value] if isinstance(node, ast.FragmentSpreadNode) else node
                if part.type_condition is None or {part.type_condition.name.value, ANY} & set(kinds(thing)):
                    self._collect(thing, part.selection_set, fields)

    def _field(self, thing: Any, nodes: list[Any]) -> Any:
        name = nodes[0].name.value
        if name == "__typename":
            return kinds(thing)[0]
        if not hasattr(thing, name):
            self.unknown.append(f"{kinds(thing)[0]}.{name}")
            return None
        value = getattr(thing, name)
        if callable(value):
            value = value(**{a.name.value: _value(a.value, self.variables) for a in nodes[0].arguments or ()})
        return self._complete(value, [node.selection_set for node in nodes if node.selection_set])

    def _complete(self, value: Any, selections: list[Any]) -> Any:
        if isinstance(value, (list, tuple)) and selections:
            return [self._complete(v, selections) for v in value]
        return self.object(value, selections) if selections and value is not None else value


def _value(node: Any, variables: dict[str, Any]) -> Any:
    if isinstance(node, ast.VariableNode):
        return variables.get(node.name.value)
    if isinstance(node, ast.ListValueNode):
        return [_value(v, variables) for v in node.values]
    if isinstance(node, ast.ObjectValueNode):
        return {f.name.value: _value(f.value, variables) for f in node.fields}
    if isinstance(node, ast.NullValueNode):
        return None
    return node.value if isinstance(node, (ast.StringValueNode, ast.EnumValueNode)) else json.loads(str(node.value).lower())
