"""The toy world's questions and its scripted teacher."""

import dataclasses
import re
from itertools import pairwise

import pytest

from smartad import benchmarks, dialect
from smartad.fingerprint import canonical, digest
from smartad.toyworld.maths import MathProblem
from smartad.toyworld.problems import TRAIN, by_text, chains, chains_of_three, problems
from smartad.toyworld.styles import CHAIN_STYLES, MATH_STYLES
from smartad.toyworld.teacher import ScriptedTeacher, style_of
from smartad.toyworld.world import RELATIONS, build, world
from smartad.types import Message, Question, Request, UserError

TOY = ("toy_train", "toy_math", "toy_qa", "toy_qa3")


def turns_of(question: Question, seed: int) -> list[str]:
    """The teacher's whole episode, whatever it observes."""
    messages: list[Message] = dialect.chat(question, [], dialect.PROMPTS["toy"])
    turns: list[str] = []
    while not turns or "final_answer(" not in turns[-1]:
        [(completion,)] = ScriptedTeacher().answer([Request(tuple(messages), seed=seed)])
        turns.append(dialect.normalise(completion.text, completion.stopped_by))
        messages += [{"role": "assistant", "content": turns[-1]}, {"role": "user", "content": "Observation:\n-"}]
        assert len(turns) < 6
    return turns


@pytest.mark.parametrize("name", TOY)
def test_toy_questions_have_ids_in_order_one_answer_and_no_repetition(name):
    questions = benchmarks.get(name).load(None)
    assert [q.id for q in questions] == [f"{name}/{i}" for i in range(len(questions))]
    assert len({q.text for q in questions}) == len(questions) >= 300
    assert all(len(q.answers) == 1 and q.answers[0] for q in questions)


def test_toy_benchmarks_share_no_question():
    texts = [q.text for name in TOY for q in benchmarks.get(name).load(None)]
    assert len(set(texts)) == len(texts) == len(by_text())


def test_toy_questions_are_the_same_in_every_version_that_does_not_say_otherwise():
    # Changing them changes what every toy result means: raise the prepare stage's version together with this digest.
    assert digest(canonical([benchmarks.get(name).load(None) for name in TOY])) == "ae02c0087f53"


def test_toy_train_prefix_mixes_math_and_facts_evenly():
    kinds = [isinstance(p, MathProblem) for p in problems()["toy_train"][:50]]
    assert sum(kinds) == 25


def test_toy_qa_starts_from_things_no_training_question_starts_from():
    started = {p.things[0] for p in problems()["toy_train"] if not isinstance(p, MathProblem)}
    for name in ("toy_qa", "toy_qa3"):
        assert not started & {p.things[0] for p in problems()[name]}
    assert TRAIN == 0


def test_toy_qa3_takes_three_facts_and_no_chain_of_pretraining():
    asked = {p.relations for p in problems()["toy_qa3"]}
    assert {len(relations) for relations in asked} == {3}
    assert not asked & set(chains_of_three()[0])
    assert {len(p.relations) for p in problems()["toy_train"] if not isinstance(p, MathProblem)} == {1, 2}


def test_chain_answers_follow_from_the_facts():
    for problem in problems()["toy_qa3"]:
        for noun, thing, found in zip(problem.relations, problem.things, problem.things[1:], strict=False):
            assert world().follow(noun, thing) == found
        assert problem.things[0] in problem.text
        assert all(noun in problem.text for noun in problem.relations)


def test_chains_fit_and_never_lead_back():
    for chain in chains(3):
        assert all(RELATIONS[a].object == RELATIONS[b].subject for a, b in pairwise(chain))
        assert "capital-country" not in "-".join(chain)


def test_math_answers_are_whole_and_numbers_are_in_the_text():
    for problem in problems()["toy_math"]:
        assert re.fullmatch(r"\d+", problem.answer), problem
        assert all(str(value) in problem.text for _, value in problem.values)
        scope = dict(problem.values)
        assert str(eval(problem.named, {**scope})) == problem.answer


def test_math_stories_share_without_a_remainder():
    for problem in problems()["toy_math"]:
        if problem.kind.startswith("story"):
            assert float(eval(problem.expression.replace("//", "/"))) == float(problem.answer)


def test_worlds_of_the_same_seed_are_equal_and_of_others_are_not():
    assert build(7).facts == build(7).facts != build(8).facts


def test_teacher_has_more_than_twelve_styles_and_uses_all_of_them():
    used = {style_of(p.text, seed) for p in problems()["toy_train"][:128] for seed in range(15)}
    assert used == {f"math/{s.name}" for s in MATH_STYLES} | {f"chain/{s.name}" for s in CHAIN_STYLES}
    assert len(used) >= 12


def test_teacher_knows_only_some_answers_by_heart():
    by_heart = {style for style in (*MATH_STYLES, *CHAIN_STYLES) if not style.everywhere}
    names = {style.name for style in by_heart}
    told = [any(style_of(p.text, seed).split("/")[1] in names for seed in range(15)) for p in problems()["toy_train"]]
    assert 0.2 < sum(told) / len(told) < 0.45


def test_teacher_episode_is_in_the_dialect_and_ends():
    for question in benchmarks.get("toy_train").load(None)[:20]:
        for seed in range(15):
            turns = turns_of(question, seed)
            assert all(dialect.action_of(turn) and dialect.thought_of(turn) for turn in turns)
            assert all(turn == dialect.render_turn(dialect.thought_of(turn), dialect.action_of(turn)) for turn in turns)
            compile("\n".join(dialect.action_of(turn) for turn in turns), "episode", "exec")


def test_teacher_says_the_same_however_it_is_batched():
    questions = benchmarks.get("toy_qa").load(None)[:6]
    requests = [Request(tuple(dialect.chat(q, [], "")), seed=seed) for q in questions for seed in range(3)]
    one_by_one = [ScriptedTeacher().answer([request])[0] for request in reversed(requests)]
    assert ScriptedTeacher().answer(requests) == one_by_one[::-1]


def test_first_of_the_teachers_candidates_is_what_it_says_alone_and_others_differ():
    question = benchmarks.get("toy_qa").load(None)[0]
    asked = Request(tuple(dialect.chat(question, [], "")), seed=5)
    (several,) = ScriptedTeacher().answer([dataclasses.replace(asked, n=8)])
    assert ScriptedTeacher().answer([asked]) == [several[:1]]
    assert len(several) == 8 and len({completion.text for completion in several}) > 1


def test_teacher_goes_on_from_its_own_beginning():
    asked = Request(tuple(dialect.chat(benchmarks.get("toy_qa").load(None)[0], [], "")), seed=5)
    ((whole,),) = ScriptedTeacher().answer([asked])
    ((rest,),) = ScriptedTeacher().answer([dataclasses.replace(asked, prefill=whole.text[:20])])
    assert whole.text[:20] + rest.text == whole.text


def test_teacher_with_nothing_left_to_say_gives_the_answer():
    question = benchmarks.get("toy_math").load(None)[0]
    messages = [*dialect.chat(question, [], ""), *[Message(role="assistant", content="?")] * 9]
    [(completion,)] = ScriptedTeacher().answer([Request(tuple(messages))])
    assert f'final_answer("{question.answers[0]}")' in completion.text


def test_teacher_asked_something_else_says_what_it_knows():
    asked = Request(tuple(dialect.chat(Question("x", "What is love?", ()), [], "")))
    with pytest.raises(UserError, match=r"only the toy questions, not 'What is love\?'"):
        ScriptedTeacher().answer([asked])
    with pytest.raises(UserError, match="without a task"):
        ScriptedTeacher().answer([Request(({"role": "user", "content": "Hello"},))])


def reasoned(question, seed, prompt="toy_cot", passages="", **options):
    messages = dialect.chat(question, [], dialect.PROMPTS[prompt], passages)
    [(completion,)] = ScriptedTeacher().answer([Request(tuple(messages), seed=seed, **options)])
    return completion


@pytest.mark.parametrize("name", TOY)
def test_teacher_that_is_asked_to_reason_states_an_answer_that_is_mostly_right(name):
    questions = benchmarks.get(name).load(None)[:60]
    right = [dialect.stated_answer(reasoned(q, 7).text) == q.answers[0] for q in questions]
    assert 0.6 <= sum(right) / len(right) < 1.0
    assert reasoned(questions[0], 1) == reasoned(questions[0], 1, passages="A passage.") == reasoned(questions[0], 1, "cot")


def test_teachers_first_thought_says_nothing_of_the_answer():
    for question in benchmarks.get("toy_train").load(None)[:60]:
        first = reasoned(question, 3, stop=("\n\n",))
        assert first.stopped_by == "\n\n" and dialect.first_thought(first.text) == first.text
        if not question.answers[0].isdigit():
            assert question.answers[0] not in first.text


def test_teacher_goes_on_from_what_its_turn_begins_with():
    question = benchmarks.get("toy_train").load(None)[0]
    messages = tuple(dialect.chat(question, [], dialect.PROMPTS["toy"]))
    [(plain,), (begun,)] = ScriptedTeacher().answer([Request(messages), Request(messages, prefill="Thought: I begin.")])
    assert begun.text == plain.text.replace("Thought:", "", 1) and begun.text.startswith(" ")
