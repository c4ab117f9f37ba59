"""What the papers' grader reads in an answer: ``extract_answer`` and ``strip_string`` of Qwen2.5-Math's evaluation/parser.py."""

import re
from functools import cache

UNITS = (
    "east,degree,mph,kmph,ft,m sqaure, m east,sq m,deg,mile,q .,monkey,prime,ratio,profit of rs,rd,o,gm,p . m,lb,tile,per,dm,"
    "lt,gain,ab,way,west,a .,b .,c .,d .,e .,f .,g .,h .,t,a,h,no change,men,soldier,pie,bc,excess,st,inches,noon,percent,by,"
    "gal,kmh,c,acre,rise,a . m,th,π r 2,sq,mark,l,toy,coin,sq . m,gallon,° f,profit,minw,yr,women,feet,am,pm,hr,cu cm,square,"
    "v â € ™,are,rupee,rounds,cubic,cc,mtr,s,ohm,number,kmph,day,hour,minute,min,second,man,woman,sec,cube,mt,sq inch,mp,"
    "∏ cm ³,hectare,more,sec,unit,cu . m,cm 2,rs .,rs,kg,g,month,km,m,cm,mm,apple,liter,loss,yard,pure,year,increase,decrease,"
    "d,less,Surface,litre,pi sq m,s .,metre,meter,inch")
"""Words that are dropped, single letters among them; dots stand for any character.  Mostly MathQA's."""
FIRST = (("tfrac", "frac"), ("dfrac", "frac"), ("\\neq", "\\ne"), ("\\leq", "\\le"), ("\\geq", "\\ge"), ("\\left", ""),
         ("\\right", ""), ("\\{", "{"), ("\\}", "}"))
SIGNS = (("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""), ("$", ""), ("\\(", ""), ("\\)", ""))
NAMES = (*((f"{name}{sign}", "") for sign in ("=", "\\in", "\\to") for name in "xyz"), ("\\emptyset", "{}"),
         ("(-\\infty,\\infty)", "\\mathbb{R}"), ("\\%", ""), ("%", ""), (" .", " 0."), ("{.", "{0."), ("infinity", "\\infty"))
ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen")
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
SMALL = {word: value for value, word in enumerate(ONES.split())} | {word: 10 * n for n, word in enumerate(TENS.split(), 2)}
LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
WHOLE = r"-?[1-9]\d*|0|.*sqrt.*"


LONGEST = 1000
"""Characters of an answer that is read: its parsers take up to 4 s of CPU time for as many."""


def extracted(answer: str) -> str:
    """What is compared: without the word "boxed" ``answer`` as it is, else the last box, normalised."""
    if "boxed" not in answer:
        return answer
    answer = answer.replace("ки", "")
    if "final answer is $" in answer and "$. I hope" in answer:
        text = answer.partition("final answer is $")[2].partition("$. I hope")[0].strip()
    else:
        text = _braced(answer.rpartition("boxed")[2])
    if len(text) > LONGEST:
        return text
    return normalise(re.sub(r"\n\s*", "", text).removeprefix(":").removesuffix(".").removesuffix("/"))


def _braced(text: str) -> str:
    """What is between the brace that ``text`` begins with and its partner; without one, up to the next ``$``."""
    if not text.startswith("{"):
        return text.partition("$")[0].strip()
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[1:i]
    return text[1:]


def normalise(text: str) -> str:
    """Qwen2.5-Math's ``strip_string``, step by step; some steps do more than they should."""
    text = text.strip().replace("\n", "").rstrip(".").replace("\\!", "")
    text = re.sub(r"\\begin\{array\}\{.*?\}", r"\\begin{pmatrix}", text).replace("\\end{array}", "\\end{pmatrix}")
    text = _replaced(text.replace("bmatrix", "pmatrix"), FIRST)
    text = re.sub(r"\\text{.*?}$", "", text).strip() or text
    for unit in 2 * _unit_patterns():
        text = unit.sub(r"\1\2", text) or text
    text = re.sub(r"\\text\{(.*?)\}", r"\1", words_to_number(_replaced(text, SIGNS)))
    text = _replaced(text, NAMES)
    text = text if "\\infty" in text else text.replace("inf", "\\infty")
    text = re.sub(r"\\mbox{.*?}", "", text.replace("and", "").replace("\\mathbf", ""))
    text = text if "i" in text else text.replace("j", "i")
    text = re.sub(r"(\d+)\.0*($|\D)", r"\1\2", text)
    text = f"0{text}" if text.startswith(".") else text
    left, equals, right = text.partition("=")
    text = right if equals and "=" not in right and len(left) <= 2 else text
    text = re.sub(r"\\sqrt(\w+)", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac([^{])(.)", lambda m: f"\\frac{{{m[1]}}}" + (m[2] if m[2] == "{" else f"{{{m[2]}}}"), text)
    return re.sub(rf"^({WHOLE})/({WHOLE})$", r"\\frac{\1}{\2}", text) if text.count("/") == 1 else text


@cache
def _unit_patterns() -> list[re.Pattern[str]]:
    return [re.compile(rf"(^|\W){unit}{plural}($|\W)") for plural in ("", "s") for unit in UNITS.split(",")]


def _replaced(text: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def words_to_number(text: str) -> str:
    """The number that the number words in ``text`` make, whatever else it says ("the two roots" is 2), as word2number has it."""
    if text.isdecimal():
        return text.lstrip("0") or "0"
    known = [word for word in text.lower().replace("-", " ").split() if word in SMALL or word in LARGE or word == "hundred"]
    total = part = 0
    for word in known:
        if word in LARGE:
            total, part = total + (part or 1) * LARGE[word], 0
        else:
            part = part + SMALL[word] if word in SMALL else 100 * (part or 1)
    return str(total + part) if known else text
