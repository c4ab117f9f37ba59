"""Text to sympy's expressions, as Qwen2.5-Math's grader reads it, but that nothing of the text is ever evaluated.

It tries sympy's LaTeX grammar, which reads as far as it can and forgets the rest ("1,-2" is 1, "x**2" is x); then
``parse_expr``, which is Python's ``eval``; then latex2sympy2, which knows matrices and ``$``.  The first is sympy's own here, in
place of the second stands :func:`python`, and in place of the third its successor, latex2sympy2_extended.
"""

import ast
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

Expression = Any
"""A sympy expression, relation, set or matrix; of :func:`python`, a tuple, list or set of them too."""
FUNCTIONS = ("sqrt", "cbrt", "root", "exp", "log", "ln", "sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh",
             "cosh", "tanh", "Abs", "Rational", "factorial", "binomial", "floor", "ceiling", "Min", "Max")
CONSTANTS = ("pi", "E", "I", "oo", "zoo")
OPERATIONS: dict[type[ast.AST], Callable[..., Expression]] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b, ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b, ast.Mod: lambda a, b: a % b, ast.FloorDiv: lambda a, b: a // b, ast.USub: lambda a: -a,
    ast.UAdd: lambda a: a}


@lru_cache(maxsize=1024)
def read(text: str) -> Expression | str:
    """What ``text`` says; ``text`` itself when nobody can read it."""
    for reader in (latex, python, rich_latex):
        for spelling in (text.replace("\\\\", "\\"), text):
            try:
                return reader(spelling)
            except MemoryError:
                raise
            except Exception:  # whatever is wrong with it, it cannot be read
                continue
    return text


def latex(text: str) -> Expression:
    """As ``sympy.parsing.latex.parse_latex`` reads it.  Raises what that raises: LaTeXParsingError, and much else.

    That function wants antlr4 4.11, math-verify 4.13; the parser that sympy has generated works with both.
    """
    lexer, parser, listener, convert, tokens, characters = _grammar()
    text = text.strip()
    errors = listener(text)
    read = lexer(characters(text))
    read.removeErrorListeners()
    read.addErrorListener(errors)
    tree = parser(tokens(read))
    tree.removeErrorListeners()
    tree.addErrorListener(errors)
    return convert(tree.math().relation())


@cache
def _grammar() -> tuple[Any, ...]:
    from antlr4 import CommonTokenStream, InputStream
    from sympy.parsing.latex import _parse_latex_antlr as own

    class Lexer(own.LaTeXLexer):
        def checkVersion(self, toolVersion: str) -> None:
            """It would print that 4.11 is not 4.13, every time."""

    class Parser(own.LaTeXParser):
        def checkVersion(self, toolVersion: str) -> None:
            """As above."""

    return Lexer, Parser, own.MathErrorListener, own.convert_relation, CommonTokenStream, InputStream


def rich_latex(text: str) -> Expression:
    """As latex2sympy2_extended reads it.  Raises Exception when it cannot, and much else."""
    from latex2sympy2_extended import latex2sympy

    return latex2sympy(text)


def python(text: str) -> Expression:
    """A calculation as Python writes it: numbers, names, operators, calls of ``FUNCTIONS``, tuples, lists and sets.

    Raises SyntaxError, ValueError for anything else, and what sympy raises.
    """
    return _value(ast.parse(text.strip(), mode="eval").body)


def _value(node: ast.AST) -> Expression:
    import sympy

    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return sympy.Integer(number) if isinstance(number, int) else sympy.Float(ast.unparse(node))
        case ast.Name(id=name):
            return getattr(sympy, name) if name in CONSTANTS else sympy.Symbol(name)
        case ast.UnaryOp(op=op, operand=one) if type(op) in OPERATIONS:
            return OPERATIONS[type(op)](_value(one))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            return OPERATIONS[type(op)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return getattr(sympy, name)(*map(_value, args))
        case ast.Tuple(elts=parts):
            return tuple(map(_value, parts))
        case ast.List(elts=parts):
            return list(map(_value, parts))
        case ast.Set(elts=parts):
            return set(map(_value, parts))
    raise ValueError(f"{ast.unparse(node)} is no calculation")
