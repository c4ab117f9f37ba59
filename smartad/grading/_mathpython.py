"""Answers as Python prints them (``sqrt(2)/2``, ``[1, 2]``, ``Fraction(1, 2)``, ``np.float64(2.0)``), in LaTeX.

Nothing is ever run: the text is parsed by ``ast``, and only what is listed here is written anew.
"""

import ast
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation

LONGEST = 2000
"""Characters; a longer text is no Python value of ours."""
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "{}+{}", ast.Sub: "{}-{}", ast.Mult: r"{} \cdot {}", ast.Div: r"\frac{{{}}}{{{}}}", ast.Pow: "{}^{{{}}}"}
RELATIONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: r"\le", ast.Gt: ">", ast.GtE: r"\ge", ast.Eq: "="}
INFINITE = dict.fromkeys(("oo", "inf", "infty", "infinity"), r"\infty")
NAMES = {"pi": r"\pi", "I": "i", "E": "e", "Reals": r"\mathbb{R}", **INFINITE}
SAME = {"Integer", "float", "Float", "Decimal", "float64", "float32", "int64", "int32", "str", "N", "simplify"}
"""Calls that are their argument."""
FUNCTIONS = {name: rf"\{name}({{}})" for name in ("sin", "cos", "tan", "cot", "sec", "csc", "ln")} | {
    "sqrt": r"\sqrt{{{}}}", "exp": "e^{{{}}}", "log": r"\ln({})", "Abs": "|{}|", "abs": "|{}|", "factorial": "({})!",
    "asin": r"\arcsin({})", "acos": r"\arccos({})", "atan": r"\arctan({})", "arcsin": r"\arcsin({})",
    "arccos": r"\arccos({})", "arctan": r"\arctan({})", "cbrt": r"\sqrt[3]{{{}}}"}
PAIRED = {"Rational": r"\frac{{{}}}{{{}}}", "Fraction": r"\frac{{{}}}{{{}}}", "binomial": r"\binom{{{}}}{{{}}}",
          "comb": r"\binom{{{}}}{{{}}}", "Pow": "({})^{{{}}}", "Eq": "{}={}", "log": r"\log_{{{1}}}({0})"}
OPTIONS = {"dtype", "evaluate"}
"""Arguments by name that change nothing."""
INTERVALS = {"Interval": "[]", "Interval.open": "()", "Interval.Lopen": "(]", "Interval.Ropen": "[)"}


class _Unknown(Exception):
    """Something that is not listed here."""


def latex(text: str) -> str | None:
    """``text`` in LaTeX, where it is one of the Python values or expressions known here; else None."""
    if len(text) > LONGEST or "\\" in text or re.search(r"\d_\d|[=<>]=?\s*$|__", text):
        return None
    text = re.sub(r"(?<=[\d.\]])\s+(?=[-\d.\[])", ", ", text) if _printed_array(text) else text
    source = text.replace("^", "**")
    try:
        tree = ast.parse(source, mode="eval").body
        return _Writer(source).write(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError, _Unknown):
        return None


def _printed_array(text: str) -> bool:
    """``[[1 2]\\n [3 4]]``, as numpy prints it."""
    return re.fullmatch(r"\[[\[\]\d\s.\-e]*\d\s+-?[\[\]\d\s.\-e]*\]", text) is not None and "," not in text


class _Writer:
    def __init__(self, source: str) -> None:
        self.source = source

    def write(self, node: ast.expr) -> str:
        """Raises _Unknown at what is not known."""
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name():
                return NAMES.get(node.id, node.id)
            case ast.Attribute(attr=name) if name in NAMES:
                return NAMES[name]
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                return ("-" if isinstance(node.op, ast.USub) else "") + self._atom(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                left, right = _unbraced(left), _unbraced(right)
                write = self.write if isinstance(op, ast.Div) else self._atom
                upper = self.write if isinstance(op, ast.Div | ast.Pow) else self._atom
                first = write(left) if not isinstance(op, ast.Add | ast.Sub) else self.write(left)
                return OPERATORS[type(op)].format(first, upper(right))
            case ast.Compare(left=left, ops=ops, comparators=rights) if all(type(op) in RELATIONS for op in ops):
                pairs = zip(ops, rights, strict=True)
                return self.write(left) + "".join(f" {RELATIONS[type(op)]} {self.write(right)}" for op, right in pairs)
            case ast.Tuple(elts=items):
                return f"({self._joined(items)})" if self._bracketed(node) else self._joined(items)
            case ast.List(elts=items):
                return self._matrix(items) or f"[{self._joined(items)}]"
            case ast.Set(elts=items):
                return rf"\{{{self._joined(items)}\}}"
            case ast.Dict(keys=keys, values=values):
                pairs_ = [(key, value) for key, value in zip(keys, values, strict=True) if key is not None]
                return ", ".join(f"{self.write(key)}={self.write(value)}" for key, value in pairs_)
            case ast.Call(func=function, args=arguments, keywords=options) if {option.arg for option in options} <= OPTIONS:
                return self._call(_name(function), arguments)
        raise _Unknown

    def _constant(self, node: ast.Constant) -> str:
        text = ast.get_source_segment(self.source, node) or ""
        if isinstance(node.value, str):
            return node.value
        if isinstance(node.value, bool | None):
            return str(node.value)
        if not isinstance(node.value, int | float | complex):
            raise _Unknown
        digits, imaginary = (text[:-1], "i") if isinstance(node.value, complex) else (text, "")
        if not re.fullmatch(r"[\d.]+([eE][+-]?\d{1,3})?", digits):
            raise _Unknown
        try:
            return format(Decimal(digits), "f") + imaginary
        except InvalidOperation:
            raise _Unknown from None

    def _atom(self, node: ast.expr) -> str:
        text = self.write(node)
        return text if isinstance(node, ast.Constant | ast.Name) else f"({text})"

    def _joined(self, items: Sequence[ast.expr]) -> str:
        return ", ".join(self.write(item) for item in items)

    def _bracketed(self, node: ast.Tuple) -> bool:
        return not node.elts or (node.elts[0].col_offset, node.elts[0].lineno) != (node.col_offset, node.lineno)

    def _matrix(self, rows: Sequence[ast.expr]) -> str | None:
        """Rows of the same length, all of them lists; None for anything else."""
        lists = [row.elts for row in rows if isinstance(row, ast.List)]
        if not rows or len(lists) < len(rows) or len({len(row) for row in lists}) != 1 or not lists[0]:
            return None
        body = r" \\ ".join(" & ".join(self.write(item) for item in row) for row in lists)
        return rf"\begin{{pmatrix}} {body} \end{{pmatrix}}"

    def _call(self, name: str, arguments: Sequence[ast.expr]) -> str:
        last = name.rpartition(".")[2]
        if len(arguments) == 1:
            only = arguments[0]
            if last in ("Matrix", "array", "ImmutableMatrix", "ImmutableDenseMatrix", "MutableDenseMatrix"):
                flat = isinstance(only, ast.List) and self._matrix(only.elts) is None and last != "array"
                return self._matrix([ast.List([item]) for item in only.elts]) or "" if flat and isinstance(only, ast.List) \
                    else self.write(only)
            if last in SAME | {"list", "tuple", "set", "Rational", "Fraction"}:
                return self.write(only)
            if last in FUNCTIONS:
                return FUNCTIONS[last].format(self.write(only))
        if len(arguments) == 2 and last in PAIRED:
            return PAIRED[last].format(*(self.write(item) for item in arguments))
        key = ".".join(name.split(".")[-2:]) if "Interval." in name else last
        if 2 <= len(arguments) <= 4 and key in INTERVALS:
            return self._interval(INTERVALS[key], arguments)
        joined: dict[str, Callable[[], str]] = {
            "FiniteSet": lambda: rf"\{{{self._joined(arguments)}\}}", "Tuple": lambda: f"({self._joined(arguments)})",
            "Point": lambda: f"({self._joined(arguments)})", "Point2D": lambda: f"({self._joined(arguments)})",
            "Union": lambda: r" \cup ".join(self.write(item) for item in arguments)}
        if last in joined and arguments:
            return joined[last]()
        raise _Unknown

    def _interval(self, brackets: str, arguments: Sequence[ast.expr]) -> str:
        flags = [isinstance(flag, ast.Constant) and flag.value is True for flag in arguments[2:]]
        opened, closed = "(" if flags[:1] == [True] else brackets[0], ")" if flags[1:] == [True] else brackets[1]
        return f"{opened}{self._joined(arguments[:2])}{closed}"


def _unbraced(node: ast.expr) -> ast.expr:
    """The one thing in braces: nobody calculates with sets, and 2^{-3} is LaTeX."""
    return node.elts[0] if isinstance(node, ast.Set) and len(node.elts) == 1 else node


def _name(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_name(value)}.{name}"
    raise _Unknown
