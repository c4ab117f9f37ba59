"""The strict grader of mathematics: what is the same, and what is not."""

import pytest

from smartad.grading import Grade, get
from smartad.types import Question

strict = get("math_strict")


def right(gold, answer):
    return strict.grade(Question("q/0", "?", (gold,)), answer).correct


def table(text):
    """Rows of a gold and an answer, three blanks between them."""
    return [tuple(part.strip() for part in line.split("   ", 1)) for line in text.strip().splitlines()]


RIGHT = table(r"""
\text{yes}   Yes
no   No.
p - q   -q+p
p - q   -(q-p)
p - q   S = p - q
a-b-c   \boxed{-c+a-b}
ab-c   -c + b*a
\sqrt{xy}   sqrt(x)*sqrt(y)
30p \sqrt{p}   \sqrt{900p^3}
3\sqrt{13}   3\sqrt{13}\text{ units}
58,500   x = 58,500
x \in [-2,7]   x in [-2, 7]
58,500   58,000 + 500
288 \pi   288\pi\text{ square units}
y = -2x   y = -2x \text{ dollars}
(2,\infty)   (2, infty)
7   The remainder of 194 divided by 11 is 7.
3   The units digit of $13^{19} \cdot 19^{13}$ is 3.
2300   The cost of the feathers and of the gold is $2300.
12   12.0
12   12.
12.5   12.50
12.5   25/2
033   33
\frac{9}{14}   9/14
\frac{9}{14}   Fraction(9, 14)
\frac{9}{14}   18/28
\frac{1}{4}   0.25
.175   0.175
.0000672   6.72e-05
0.20   .2
58,500   58500
11,\! 111,\! 111,\! 100   11111111100
\$32,\!348   32348
10080   10{,}080
2,900   $2,900
10,\!080   10\,080
1\frac{4}{5}   9/5
1\frac{4}{5}   1.8
2\frac58   2 5/8
137 \frac{1}{2}   137.5
-1\frac12   -3/2
\frac 59   5/9
\tfrac34   .75
10\%   10
10\%   10%
1.1\%   1.1 percent
\$\dfrac23 \approx \$0.67   2/3
\sqrt{2}   \sqrt 2 \approx 1.41
561161.7000000001   561161.7
19023741.599999998   19023741.6
5031.9785714286   5031.978571428571
0.0000446752   4.46752e-05
12.6   12.600000000000001
3   3.0000000000000004
33.3333333333   100/3
9189480.000000002   9189480
2^2023   2^{2023}
2^{2025}   2**2025
11^8 (5^{11} - 4^{11})   11**8*(5**11 - 4**11)
11^8 (5^{11} - 4^{11})   9567655924314301
2^{2008} -2   2*(2**2007 - 1)
\frac{\sqrt{2}}{2}   sqrt(2)/2
\frac{\sqrt{2}}{2}   1/sqrt(2)
11\sqrt2   11*sqrt(2)
3\sqrt{13}   3√13
3\sqrt{13}   \sqrt{117}
e^{-1}   exp(-1)
e^{-1}   1/e
\frac{\pi}{3}   pi/3
2007 + \frac\pi 2   pi/2 + 2007
6+9i   6 + 9*I
6+9i   (6+9j)
-i   -I
2i   (1+i)^2
C_{400}^{40} \cdot C_{200}^{20}   binomial(400, 40)*binomial(200, 20)
\tan 15^\circ   2-sqrt(3)
\pi -\arccos \frac{1}{8}   pi - acos(1/8)
8(\sqrt[10]{2^{7}})   8*2**(7/10)
12^{1/7}   12**(1/7)
\frac{1}{2^{98}}   2**(-98)
36\sqrt{7}cm^{3}   36\sqrt{7}
4\times 3^{2010}-5\times 2^{2010}+1   4*3**2010 - 5*2**2010 + 1
x^2   x**2
2k+2   2(k+1)
2k+2   2*k + 2
(a+5)(b+2)   ab+2a+5b+10
xy   y*x
\frac{t^2}{2}   t**2/2
ab+ab^{2}+b   a*b**2 + a*b + b
\cot x   1/tan(x)
30p \sqrt{p}   30*p**(3/2)
2s   2*s
r=1+\sqrt{\frac{q}{s}}   1 + sqrt(q/s)
\pi a^2   pi*a**2
x=5   5
5   x=5
x=5   x = 5
5   x = 10/2 = 5
5   3 + 2 = 5
33   m + n = 33
5   f(2) = 5
x+2y=3   2x+4y=6
5x - 7y + 11z + 4 = 0   -5x+7y-11z=4
y = 2x + 3   2x+3
y = 2x + 3   y - 2x = 3
k = 1   1
f(x)=-\frac25 x + 13   13 - 0.4x
C(h)=4h+4   C(h) = 4(h+1)
\frac{x^{2}}{2} - \frac{y^{2}}{2} = 1   x^2-y^2=2
C=\frac{def}{de+df+ef}   C = d*e*f/(d*e + d*f + e*f)
b > a > c   b>a>c
b > a > c   c < a < b
1,-2   -2, 1
1, 2, 3, 4   [4, 3, 2, 1]
3, 5, 7   {3, 5, 7}
3, 5, 7   (3, 5, 7)
3, 5, 7   3, 5 and 7
n=1, 2, 3   1, 2, 3
n=1, 2, 3   n = 1, n = 2, n = 3
3 \pm 2\sqrt{2}   3+2\sqrt{2}, 3-2\sqrt{2}
3 \pm 2\sqrt{2}   [3 - 2*sqrt(2), 2*sqrt(2) + 3]
\{1\pm\sqrt{5},-2\}   -2, 1-\sqrt{5}, 1+\sqrt{5}
0.05 and 0.6   (0.05, 0.6)
5 or 9   9, 5
2 or -2 or \frac{1}{2} or -\frac{1}{2}   2, -2, 1/2, -1/2
81, 256   81,256
81256   81,256
-1,3,3   3, 3, -1
{1}   1
\{-2\}   -2
\{2,3,5\}   {5, 3, 2}
\{2,3,5\}   FiniteSet(2, 3, 5)
\{2,3\}   {2, 3, 3}
1,i,-i   [1, I, -I]
5,\,-11   -11 or 5
D, E   E, D
\text{A,B,E}   A, B, E
45^\circ, 135^\circ   135, 45
5   [5]
48, 384   (384, 48)
48, 384   \boxed{48} and \boxed{384}
I,II,III,IV   I, II, III, IV
(1,2)   (1, 2)
(1,2)   1, 2
(6,31,-1)   [6, 31, -1]
(100,101)   (100,101)
[1,2)   [1, 2)
(-\infty, 0]   (-oo, 0]
(-\infty, 0]   Interval(-oo, 0)
(-\infty, 0]   x \le 0
x \in [-2,7]   [-2,7]
x \in [-2,7]   -2 \le x \le 7
[-2,7]   x \in [-2,7]
\{x|-2\leq x < 1\}   [-2, 1)
\{x|-2\leq x < 1\}   \{x : -2 \le x < 1\}
(2,12) \cup (12,102)   (12, 102) U (2, 12)
(2,12) \cup (12,102)   Union(Interval.open(2, 12), Interval.open(12, 102))
(-\infty, 2) \cup (3, \infty)   x < 2 or x > 3
(-\infty,\infty)   \mathbb{R}
[2,+\infty)   [2,\infty)
\left[\frac{2\sqrt{2}}{3},1\right)   [2*sqrt(2)/3, 1)
(-4, 27);(2, 15)   (2, 15), (-4, 27)
(-4, 27);(2, 15)   [(2, 15), (-4, 27)]
(12,3,4), (6,5.4,7.6)   (12, 3, 4) and (6, 5.4, 7.6)
(1,2)   x=1, y=2
\left( 3, \frac{\pi}{2} \right)   (3, pi/2)
\{x|x=3k,k\in \mathbb{Z}\}   \{x \mid x = 3k, k \in \mathbb{Z}\}
\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}   Matrix([[1, 0], [0, 1]])
\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}   \begin{bmatrix}1&0\\0&1\end{bmatrix}
\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}   Matrix([[-1/3], [2/3], [5/3]])
\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}   [-1/3, 2/3, 5/3]
\begin{pmatrix} 0 \\ -5 \end{pmatrix}   (0, -5)
\begin{pmatrix} 0 \\ -5 \end{pmatrix}   [ 0 -5]
\begin{pmatrix} 0 \\ -5 \end{pmatrix}   array([0., -5.])
52_8   52_8
52_8   52
52_8   52_{8}
4210_{5}   4210_5
\text{A5}_{11}   A5_{11}
-37_8   -37
24_{10}   24
24   24_{10}
52_8   52_{\text{8}}
30^\circ   30
30   30^{\circ}
30   30 degrees
864 \mbox{ inches}^2   864
864 \mbox{ inches}^2   864 \text{ square inches}
15\mbox{ cm}^2   15 cm^2
5.4 \text{ cents}   5.4
\frac{270}7\text{ degrees}   270/7
20 cm^{2}   20
22.1cm^{2}   22.1 cm²
576\pi\;m^{2}   576\pi
7\text{ hours}.   7
14 \text{ right triangles}   14 right triangles
18   18 apples
1.85\ \text{USD}   $1.85
\frac{990}{7}^\circ   990/7
\text{Evelyn}   Evelyn
\text{Evelyn}   evelyn.
\text{(C)}   C
\text{(C)}   (C)
C   Option C
C   \text{C}
C   C.
E   (E)
Quadrant I   quadrant I
\text{a necessary but not a sufficient condition}   necessary but not sufficient condition
\text{even}   Even
\text{CBAD}   CBAD
\text{two lines}   Two lines
1:58 am   1:58 AM
1:58 am   1:58 a.m.
8\!:\!34 \text{ p.m.}   8:34 p.m.
8\!:\!34 \text{ p.m.}   20:34
5am   5:00 am
9:24   9:24
3:5   3 : 5
2   \boxed{2}
2   \boxed 2
2   We get $x=2$, so the answer is $\boxed{2}$.
\frac{1}{2}   \\frac{1}{2}
90^\circ   90^\circ
\frac{\pi}{2}   The answer is $\frac{\pi}{2}$.
7   Answer: 7
7   first \boxed{6}, but checking gives \boxed{7}
12   **12**
2   np.float64(2.0)
2   '2'
None   None
5   Integer(5)
5   \(5\)
5   \[ 5 \]
x^2   x²
-5   −5
4000000   4 million
4.5 million   4500000
\$4\text{ million}   4,000,000
400000   4 hundred thousand
48   4 dozen
5   5\text{ m}
1-\frac{1}{2^{2023}}   1-2^{-2023}
60   m+n = 18 + 42 = 60
5   \frac{m}{n} = 5
5   P(A) = 5
5   f(f(2)) = 5
5   x := 5
\frac{1}{2}   P(X = 2) = \frac{1}{2}
2   \sqrt{4} = 2
(1,2)   y=2, x=1
3+2i   3+2\mathrm{i}
\text{the cat}   cat
\text{the small cat}   a small cat
f(2)   f(2)
""")
WRONG = table(r"""
\text{odd}   dod
yes   no
p - q   q - p
x-axis   y-axis
x   \sqrt{x^2}
1   \frac{x^{2}}{2} - \frac{y^{2}}{2} = 1
0   12x - 4y + 3z - 169 = 0
7   The speed is 6 when the time is 8.
7   Either 6 or 7
12   12.4
3300   033
3300   33
0.5   50
12   -12
\frac{9}{14}   0.642857
0.33   1/3
0.33   0.333
2   1e400000
2900   2,90
1\frac{4}{5}   4/5
10\%   0.1
0.1   10%
\sqrt{2}   1.41
561161.7000000001   561161.8
5031.9785714286   5031.978
12.6   12.60001
72768591   72768391
14333.5   14333
2^{2025}   3^{2025}
2^{2025}   2^{2025}+1
11^8 (5^{11} - 4^{11})   9567655924314302
3\sqrt{13}   10.816653826391969
6+9i   6-9i
C_{400}^{40}   \binom{400}{41}
\frac{\sqrt{3}}{3}   \frac{\sqrt{3}}{2}
\sqrt{2}   1.4142135623730951
xy   x+y
x^3+3x-6   x^3+3x-5
p - q   q - p
x   |x|
x=5   y=5
x+2y=3   2x+4y=7
y = 2x + 3   y = 3x + 2
x + y - z + 1 = 0   x+y-z+1
b > a > c   a>b>c
1,-2   1
1   1,-2
1, 2, 3, 4   4
3, 5, 7   3 and 5
n=1, 2, 3   n=2, 3, 4
3 \pm 2\sqrt{2}   3+2\sqrt{2}
-1,3,3   -1, 3
\{2,3,5\}   {2, 3}
2   x_1 = 1, x_2 = 2
(1,2)   (2,1)
(1,2)   [1, 2]
(0,9)   [0,9)
(20,100)   (20, 101)
[1,2]   (1,2)
(-\infty, 0]   x < 0
\{x|-2\leq x < 1\}   (-2, 1)
(2,12) \cup (12,102)   (2,102)
(2,12) \cup (12,102)   [2,12) \cup (12,102)
\left( 3, \frac{\pi}{2} \right)   (3.0, 1.5707963267948966)
\{x|x=3k,k\in \mathbb{Z}\}   \{x|x=2k,k\in \mathbb{Z}\}
\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}   [[1, 0], [0, -1]]
\begin{pmatrix} 0 \\ -5 \end{pmatrix}   (-5, 0)
52_8   42
52_8   52_9
1112122_3   1112112_3
52   52_8
18   18 x
16\text{ daps}   17 daps
\text{Evelyn}   Angela
C   D
E   2.718281828459045
Quadrant I   Quadrant II
\text{even}   odd
\text{CBAD}   ABCD
1:58 am   1:58 pm
3:5   5:3
1   True
0   None
5   The speed is 6 and not 5
5   .5
25   .25
175   .175
.5   5
12   12!
5!   5
f'   f
a - b   -b
a + b   +b
n!   n
5   -x = 5
5   |x| = 5
5   \sqrt{x} = 5
5   \log x = 5
5   x != 5
5   n!=5
5   4 = 5
5   x = 4 = 5
5   x \not= 5
5   -x=-5=5
x=5   x = 4 = 5
4   4 million
4   4\text{ million}
4   4 thousand
4   4 hundred
4   4 dozen
4   4 squared
4   4\text{ squared}
3   3 factorial
20   20 thousandths
2   2 halves
2   2 thirds
5   5 fourths
5   5 plus pi
5   5 times pi
5   5 over two
5   5 choose two
5   5 minus seven
5   5 and more
5   5 does not work
2   2abc
2   2 xyz
2abc   2
6abc   6xyz
3   3\mathrm{i}
2+3   2+3\mathrm{i}
3   3\text{e}
2   2\mathrm{e}
2+3\text{i}   2+3
4\mathrm{x}   4
2.5   int(2.5)
[0,1]   Interval(0, 1, left_open=True)
(1,2)   y=1, x=2
z   \overline{z}
\overline{z}   z
X+x   x+x
\frac{Ab}{a}   \frac{ab}{a}
\sum_{i=1}^{N} i   \sum_{i=1}^{n} i
\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}   \begin{vmatrix} 1 & 0 \\ 0 & 1 \end{vmatrix}
5   5 :
5   5'
5   5''
5   5...
5   5_2
5   5!!
5   !5
5   5*
0.3   0.3...
x   x'
\{1,2\}   \{\{1,2\}\}
A   \overline{A}
A   A'
3   3rds
7   7 per hundred
7   7 below zero
7   7 degrees below zero
7   7 negative
7   7\text{ below zero}
7   7\text{ times }
7   7 tens
7   7 mod
7   7 quarters
7   7 eighths
7   7 root two
7   7 sinx
7   7 sin
7   7 exp
7   7 sqrt
7   7 sqrt two
7   7 NaN
7   7\text{ infinity}
7   7\text{(mod 8)}
7   7\text{ (base 8)}
""")
DAMAGED = [
    ('\\begin{pmatrix} 1 & 0 \\\\ 0 & 1 \\end{pmatrix}', '[[1 0]\n [0 1]]', True),
    ('2', '\x08oxed{2}', True),
    ('\\frac{1}{2}', '\x0crac{1}{2}', True),
    ('2\\times 3^{5}', '2\times 3^{5}', True),
    ('\\tan \\frac{x}{2}', '\tan \x0crac{x}{2}', True),
    ('\\text{Evelyn}', '\text{Evelyn}', True),
    ('\\left( 1, 2 \\right)', '\\left( 1, 2 \right)', True),
]
"""Control characters and the like, which no table can show."""


@pytest.mark.parametrize(("gold", "answer", "correct"), [
    *((*row, True) for row in RIGHT), *((*row, False) for row in WRONG), *DAMAGED])
def test_strict_grades_one_writing_against_another(gold, answer, correct):
    assert right(gold, answer) is correct


def test_strict_takes_any_accepted_answer():
    question = Question("q/0", "?", (r"\frac{1}{2}", "7"))
    assert [strict.grade(question, answer).correct for answer in ("0.5", "7", "8")] == [True, True, False]


def test_strict_says_both_sides_as_it_understood_them():
    question = Question("q/0", "?", (r"30^\circ",))
    assert strict.grade(question, r"the answer is $\frac{1}{2}$ cm") == Grade(False, r"\frac{1}{2} is not 30")
    assert strict.grade(question, "30.0 degrees") == Grade(True, "30.0 is 30")


@pytest.mark.parametrize(("gold", "answer"), [*RIGHT, *WRONG])
def test_strict_settles_at_sight_only_what_it_would_say_anyway(gold, answer):
    question = Question("q/0", "?", (gold,))
    assert strict.settled(question, answer) in (None, strict.grade(question, answer))


@pytest.mark.parametrize(("gold", "answer"), [
    ("12", "12.0"), ("12", "twelve"), (r"\text{(C)}", "C"), ("(1,2)", "[1, 2]"), ("52_8", "52"),
    (r"\frac{x}{2}", r"\frac{x}{2}")])
def test_strict_needs_no_algebra_for_numbers_words_and_the_same_text(gold, answer):
    assert strict.settled(Question("q/0", "?", (gold,)), answer) is not None
    assert strict.settled(Question("q/0", "?", (gold,)), r"\frac{x}{2} + 1") is None


@pytest.mark.parametrize("payload", [
    "__import__('os').system('touch {}')", "open('{}', 'w')", "exec(\"open('{}', 'w')\")", "(lambda: open('{}', 'w'))()",
    "[open('{}', 'w') for _ in [1]]", "Matrix([[open('{}', 'w')]])", r"\text{{__import__('os').system('touch {}')}}",
    "sqrt(__import__('os').system('touch {}'))", "f'{{open(\"{}\", \"w\")}}'", "Integer(open('{}', 'w'))"])
def test_strict_runs_nothing_of_an_answer(payload, tmp_path):
    file = tmp_path / "made"
    assert right("2", payload.format(file)) is False
    assert not file.exists()


@pytest.mark.parametrize("answer", [
    "9**9**9**9", "9^{9^{9^{9}}}", "10^{10^{10}}", "(10**10**10)!", "100000000!", r"\binom{1000000000}{500000000}", "(" * 5000,
    "[" * 900 + "]" * 900, "-" * 3000 + "1", "1+" * 4000 + "1", "{" * 2000, r"\frac{" * 500, "1e999", r"\sum_{i=1}^{10^9} i",
    r"\int_0^1 x dx", "9" * 100_000, "x" * 100_000,
    "\\", "\\\\", "$", "$$", "{}", "()", "[]", ",", "=", "=5=", "^", "_", "\\boxed{",
    "\\boxed{}", "\\frac", "\\pm", "1/0", r"\frac{1}{0}", "0^{-1}", "nan", "inf", "-oo", "\x00", "\ud800", "😀", "\n", "\t2\t3",
    r"\begin{pmatrix}", r"\begin{pmatrix} 1 \\ 2 & 3 \end{pmatrix}", "sqrt(-1)**0.5"])
def test_strict_says_no_to_what_is_no_answer(answer):
    assert [right(gold, answer) for gold in ("2", r"\frac{1}{2}", "x^2", "(1,2)", r"\text{Evelyn}")] == [False] * 5


@pytest.mark.parametrize("gold", [r"\frac{1}{0}", "145solution:", "see the figure!", r"\sum_{i=1}^{n} i", r"\{x|x=3k\}",
                                  "{", "12×18×11"])
def test_strict_compares_a_gold_it_cannot_read_as_text(gold):
    assert right(gold, f" {gold} ") is True
    assert right(gold, "12") is False


LONG = [40_000 // len(part) * part for part in (" ", "is ", "A is ", "(", r"\frac{1}{2}", "½", "1 dozen ")]


@pytest.mark.parametrize("long", LONG)
def test_strict_of_a_long_answer_reads_what_its_end_states(long):
    assert right("7", rf"{long} so the answer is $\boxed{{7}}$") is True
    assert right("7", rf"the answer is 7 {long} so the answer is $\boxed{{8}}$") is False


@pytest.mark.parametrize("answer", ["1" * 4400 + "/3", "x+0." + "1" * 4400, "1_" + "1" * 4400, "1" * 2000 + "/3", "5+f(2)"])
def test_strict_calls_numbers_beyond_reading_wrong(answer):
    assert right("x+5", answer) is right("5", answer) is False
