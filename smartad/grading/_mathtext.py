"""The text of a mathematical answer, without what does not change what it says: damage, delimiters, blanks, spelling.

No library is needed for it, and nothing here knows what a formula means.
"""

import re
from itertools import pairwise

LOST = {"\b": "b", "\f": "f", "\v": "v", "\a": "a"}
"""What Python makes of a command's first letters in a string that is not raw.  Nobody means these characters."""
LOST_BLANKS = {
    "\t": ("textnormal", "textbf", "textit", "textrm", "text", "times", "theta", "tanh", "tan", "tfrac", "tau", "triangle", "to"),
    "\r": ("right", "rho", "rangle", "rfloor", "rceil", "rm"),
    "\n": ("neq", "ne", "notin", "nabla", "neg", "nmid", "nu"),
}
"""A blank may be meant, unless what follows it is the rest of one of these commands."""
SIGNS = {
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ",
    ":=": "=", "!=": r"\ne ",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ", "∪": r"\cup ", "∈": r"\in ", "ℝ": r"\mathbb{R}",
    "°": r"^\circ", "²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "θ": r"\theta ",
    "“": '"', "”": '"', "’": "'", "‘": "'", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "€": "", "£": "",
    "{,}": ",\\!",
}
SPELLINGS = [(re.compile(pattern), plain) for pattern, plain in [
    (r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\.?(?!\d)\s*", ""),
    (r"\\(?:displaystyle|textstyle|limits|rm|bf|it)(?![a-zA-Z])", ""),
    (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
    (r"\\(?:mbox|textbf|textit|textrm|textnormal|textsf|mathrm|mathbf|mathit|mathsf|operatorname|hbox)\s*(?=\{)", r"\\text"),
    (r"\\(?:overrightarrow|vec|overleftrightarrow)\s*\{([a-zA-Z]+)\}|\\overline\s*\{([a-zA-Z]{2,})\}", r"\1\2"),
    # Upright letters are no units, but for those that are: m, g, s, h, l.
    (r"\\text\s*\{\s*([a-fijknp-rt-z])\s*\}", r" \1 "),
    (r"\\mathbb\s*\{?([A-Z])\}?|\\([RZNQ])(?![a-zA-Z])", r"\\mathbb{\1\2}"),
    (r"\\leq(?:slant)?(?![a-zA-Z])", r"\\le "), (r"\\geq(?:slant)?(?![a-zA-Z])", r"\\ge "), (r"\\neq(?![a-zA-Z])", r"\\ne "),
    (r"\\lt(?![a-zA-Z])", "<"), (r"\\gt(?![a-zA-Z])", ">"),
    (r"\\lbrace(?![a-zA-Z])", r"\\{"), (r"\\rbrace(?![a-zA-Z])", r"\\}"), (r"\\mid(?![a-zA-Z])|\\vert(?![a-zA-Z])", "|"),
    (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![a-zA-Z])|\\degree(?![a-zA-Z])", r"^\\circ "),
    (r"\^\\circ\s+\\circ", r"^\\circ "),
    # Thousands: 11,\! 111 and 10{,}080 and 10\,080.
    (r"(?<=\d)(?:\s*\\!\s*,|\s*,\s*\\!|\\,|\\!)\s*(?=\d{3}(?!\d))", ""),
    (r"\\(?:quad|qquad)(?![a-zA-Z])|(?<!\\)\\[,;: ]|~", " "), (r"(?<!\\)\\!", ""),
    (r"\\\$|\$|\\[()\[\]]|\\text\s*\{\s*\}", " "), (r"\\%", "%"),
    (r"\s+", " "),
]]
LONGEST = 5000
"""Characters: of a longer text, what its end states.  Some of these patterns take the square of the length."""
SAID = re.compile(r"\b(?:answer|result|solution)s?\s*(?:is|are|:|=)+:?\s*", re.IGNORECASE)
TOLD = re.compile(r"\s*(?:[A-Z][a-z]*|[Tt]he)\s[^.]*\w\s")
"""How a sentence begins."""
IS = re.compile(r"\s(?:is|are|equals)\s+(?:(?:equal to|approximately|about|exactly|therefore|just)\s+)?")
CONNECTED = re.compile(r"(?:\s|[,;.$]|\\text|\{|\}|and|or)*")


def cleaned(text: str) -> str:
    """``text`` repaired, cut to the answer it states, and in one spelling.

    The answer: what is in ``\\boxed{}`` (in all of them, where nothing but "and" is between), else what follows the last
    "answer is" or a sentence's "is", else the whole; of more than LONGEST characters nothing.
    """
    long, text = len(text) > LONGEST, repaired(text[-LONGEST:])
    for sign, plain in SIGNS.items():
        text = text.replace(sign, plain)
    text = re.sub(r"√\s*(\d+|[a-z])", r"\\sqrt{\1}", text).replace("√", "sqrt")
    if re.search(r"\\\\[a-zA-Z]", text) and not re.search(r"(?<!\\)\\[a-zA-Z]", text):
        text = text.replace("\\\\", "\\")  # a string that was escaped twice
    whole, text = text, stated(text)
    if long and text == whole:
        return ""
    for pattern, plain in SPELLINGS:
        text = pattern.sub(plain, text)
    text = text.strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in "*`":
        text = text[1:-1].strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text.removesuffix(".").strip() if not text.endswith("..") else text


def repaired(text: str) -> str:
    """``text`` with the backslashes put back that Python took for escapes: ``"\\boxed{2}"`` arrives as a backspace, oxed{2}."""
    for character, letter in LOST.items():
        text = text.replace(character, "\\" + letter)
    for blank, commands in LOST_BLANKS.items():
        for command in commands:
            text = re.sub(rf"{blank}{command[1:]}(?![a-zA-Z])", rf"\\{command}", text)
    return text


def stated(text: str) -> str:
    """The part of ``text`` that is its answer: what is boxed, what follows "the answer is", or the end of a sentence ("is 7")."""
    spans = list(_boxes(text))
    if spans:
        inner = [text[start:end].strip() for _, start, end, _ in spans]
        between = [text[first[3]:second[0]] for first, second in pairwise(spans)]
        return ", ".join(inner) if all(CONNECTED.fullmatch(part) for part in between) else inner[-1]
    said = list(SAID.finditer(text)) or (list(IS.finditer(text)) if TOLD.match(text) else [])
    return text[said[-1].end():] if said and text[said[-1].end():].strip(" .") else text


def _boxes(text: str) -> list[tuple[int, int, int, int]]:
    """(where the command starts, where its content starts and ends, where it ends) of each box that is not in another."""
    spans: list[tuple[int, int, int, int]] = []
    for found in re.finditer(r"\\f?box(?:ed)?(?![a-zA-Z])\s*", text):
        start = found.end()
        if spans and found.start() < spans[-1][3]:
            continue
        if text[start:start + 1] == "{":
            end = closing(text, start)
            if end is not None:
                spans.append((found.start(), start + 1, end, end + 1))
        elif bare := re.match(r"[^\s$]+", text[start:]):  # \boxed 2
            spans.append((found.start(), start, start + bare.end(), start + bare.end()))
    return spans


PAIRS = {"(": ")", "[": "]", "{": "}"}


def closing(text: str, start: int) -> int | None:
    """Where the bracket at ``start`` is closed; None if it is not.  Round and square ones close each other, as in [1, 2)."""
    depth, curly = 0, text[start] == "{"
    for i in range(start, len(text)):
        character = text[i]
        if character in ("{" if curly else "(["):
            depth += 1
        elif character in ("}" if curly else ")]"):
            depth -= 1
            if depth == 0:
                return i
    return None


def split(text: str, separator: re.Pattern[str]) -> list[str]:
    """``text`` cut at the matches of ``separator`` that no bracket, brace or environment holds."""
    parts, depth, start, i = [], 0, 0, 0
    while i < len(text):
        if found := re.match(r"\\(begin|end)\b", text[i:]):
            depth += 1 if found[1] == "begin" else -1
        elif text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
        elif depth == 0 and (found := separator.match(text, i)) and found.end() > i:
            parts.append(text[start:i])
            start = i = found.end()
            continue
        i += 1
    parts.append(text[start:])
    return [part.strip() for part in parts]
