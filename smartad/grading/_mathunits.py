"""What stands behind a number: a unit, which is dropped, or a word that makes another number of it, which is not."""

import re
from fractions import Fraction

ANGLED = re.compile(r"(?<![a-zA-Z])\\?(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
UNIT = (r"(?:cm|mm|km|ft|mph|kg|mg|mL|ml|degrees?|inch(?:es)?|feet|foot|miles?|yards?|meters?|metres?|dollars?|cents?|USD|"
        r"percent|units?|hours?|minutes?|seconds?|days?|weeks?|months?|years?|pounds?|grams?|liters?|litres?)")
SCALES = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SCALED = re.compile(r"(?<![\w.,/^}])([+-]?(?:\d[\d,]{0,30})?(?:\.\d{1,30})?)(?<=\d)\s*(\\text\s*\{)?\s*"
                    rf"({'|'.join(SCALES)})s?(?![a-zA-Z])")
NO_UNIT = (rf"(?:{'|'.join(SCALES)}|square[ds]|cubed|factorial|hal(?:f|ves)|thirds?|fourth|quarter|fifth|sixth|seventh|eighth|"
           r"ninth|tenth|ten|hundredth|thousandth|millionth|plus|minus|times|over|divided|mod|modulo|base|choose|power|root|"
           r"more|less|fewer|and|or|not|no|negative|below|above|to|if|sqrt|exp|log|ln|sin|cos|tan|cot|csc|pi|nan|inf|"
           r"infinity|infty|abc|xyz|pqr|def|rst|uvw)s?(?![a-zA-Z])")
"""What makes another number of the one before it, or is a product of unknowns."""
POWER = r"(?:\s*\^\s*\{?\s*[23]\s*\}?)?"
UNITS = re.compile(rf"(?<=[\d}})\w%])\s*(?:\\text\s*\{{(?![^{{}}]*\b{NO_UNIT})[^{{}}]*\}}{POWER}|"
                   rf"(?:(?:square|cubic|sq\.?|cu\.?)\s+)?(?<![a-zA-Z\\]){UNIT}(?![a-zA-Z]){POWER}(?:\s*(?:per|/)\s*[a-z]+)?|"
                   r"\s+m\s*\^\s*\{?\s*[23]\s*\}?)\s*\.?\s*$")
COUNTED = re.compile(rf"([+-]?[\d.,]*\d)\s+(?!.*(?<![a-zA-Z]){NO_UNIT}|sin|cos|tan)"
                     r"[a-zA-Z]{3,}(?:\s+[a-zA-Z]{2,})*", re.IGNORECASE)
"""A number of things: 14 right triangles."""


def scaled(text: str) -> str:
    """4000000 for 4 million."""
    while found := SCALED.search(text):
        value = Fraction(found[1].replace(",", "")) * SCALES[found[3]]
        number = f"{value.numerator}" if value.denominator == 1 else f"{float(value)!r}"
        text = f"{text[:found.start()]}{number}{' ' + found[2] if found[2] else ''}{text[found.end():]}"
    return text


def bare(text: str) -> str:
    """``text`` without its unit, degrees, percent sign: what is left is the number."""
    text = text.strip()
    if not ANGLED.search(text):
        text = re.sub(r"\^\\circ\s*[CF]?(?![a-zA-Z])", "", text).strip()
    text = re.sub(r"\s*%(?!\s*[\w(])", "", text)
    shorter = UNITS.sub("", text).strip()
    return shorter or text
