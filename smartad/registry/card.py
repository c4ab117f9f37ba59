"""The model card of a pulled adapter: README.md as the model hub reads it."""

import time
from collections.abc import Mapping
from typing import Any

import yaml

from smartad import tables
from smartad.records import to_json
from smartad.registry.provenance import About
from smartad.types import FAILURES, Merged

MERGED = "merged"
"""The folder of the full model, below the adapter's."""
UNKNOWN = "not known to smartad"


def card(about: About, alias: str, merged: Merged | None) -> str:
    """The whole card, in Markdown with YAML front matter.  ``alias``: what it was pulled as."""
    sections = {"How it was made": recipe_in_words(about), "Results": _results(about), "Using it": _use(about, merged),
                "Where it comes from": _lineage(about), "Licence": _licence(about),
                "The recipe, whole": f"```yaml\n{_yaml({k: v for k, v in about.recipe.items() if v})}```\n"}
    name, revision = _base(about)
    pinned = f" at `{revision}`" if revision else " (its revision was not pinned: the model hub may have another one by now)"
    return (f"---\n{_yaml(_front_matter(about))}---\n# `{about.fingerprint}`\n\n"
            f"A LoRA adapter for the base model `{name}`{pinned}, distilled from a teacher agent's trajectories with smartad. "
            f"Pulled as `{alias}`.\n"
            + "".join(f"\n## {title}\n{text}" for title, text in sections.items())
            + "\n`smartad.json` has all of this for programs, with size and SHA-256 of every file.\n")


def _front_matter(about: About) -> dict[str, Any]:
    licences = set(about.licences.values())
    # Which of several terms bind what is learned under all of them is not ours to say.
    licence = "unknown" if None in licences else licences.pop() if len(licences) == 1 else "other"
    name, _ = _base(about)
    return {"base_model": name, "base_model_relation": "adapter", "library_name": "peft", "pipeline_tag": "text-generation",
            "license": licence, "tags": ["smartad", "agent-distillation", "lora"],
            **({"datasets": list(about.datasets)} if about.datasets else {})}


def _base(about: About) -> tuple[str, str]:
    """(name, revision or content hash) of the base model; the latter may be empty."""
    name, _, revision = about.base.partition("@")
    return name, revision


def recipe_in_words(about: About) -> str:
    """Teacher, pool, selection, loss, LoRA and seed, in two or three sentences."""
    collect, select, train = (about.recipe[name] for name in ("collect", "select", "train"))
    said = []
    if collect:
        said.append(f"The teacher `{collect['teacher']}` solved every training question {collect['samples']} times, at "
                    f"temperature {collect['temperature']}{_manner(collect)}.")
    if pool := about.recipe.get("import"):
        said.append(f"The trajectories were made elsewhere (format {pool['format']}), by "
                    f"{', '.join(teacher['name'] for teacher in pool['teachers'])}.")
    if select:
        drops = select.get("drop", {})
        filters = [kept for kept, switches in (("a right answer", ("wrong", "ungraded")), ("no failed tool call", FAILURES))
                   if all(drops.get(switch) for switch in switches)]
        passing = f" with {' and '.join(filters)}" if filters else ""
        said.append(f"Among each question's first K = {select['first']} trajectories{passing}, the rule `{select['rule']}` chose "
                    "one.")
    weights = train["weights"]
    said.append(f"On these the student learned with LoRA: rank {train['rank']}, alpha {train['alpha']}, dropout "
                f"{train['dropout']}, targets {train['targets']}, {train['epochs']} epochs in batches of {train['batch_size']}, "
                f"learning rate {train['learning_rate']}, loss weights reason : action : final = {weights['reason']} : "
                f"{weights['action']} : {weights['final']}, seed {train['seed']}.")
    return "\n".join(said) + "\n"


def _manner(config: Mapping[str, Any]) -> str:
    """How a model was asked, where that is not to act, turn by turn as they come."""
    ways = {"in chains of thought": not _acts(config), "with passages looked up beforehand": config.get("passages"),
            "each beginning with the first thought of a chain of thought": config.get("first_thought"),
            f"with a vote on {config.get('candidates')} candidates of every turn": config.get("candidates", 1) > 1,
            "and asked once more when the steps ran out": config.get("fallback")}
    return "".join(f", {way}" for way, holds in ways.items() if holds)


def _results(about: About) -> str:
    if not about.row:
        return "It was never evaluated.\n"
    lines = ["| benchmark | pass@1 | 95 % interval (Wilson) | right / n | ungraded | grader |",
             "| --- | ---: | ---: | ---: | ---: | --- |"]
    for name, score in about.row.items():
        percent = tables.HOLE if score.percent is None else f"{score.percent:.1f}"
        interval = tables.HOLE if score.low is None else f"{score.low:.1f} to {score.high:.1f}"
        of = "" if score.questions is None else f", {score.questions} questions"
        lines.append(f"| {name} | {percent} | {interval} | {score.correct} / {score.n}{of} | {score.ungraded} | {score.grader} |")
    evaluate = about.recipe["evaluate"]
    steps = f", with at most {evaluate['max_steps']} steps" if _acts(evaluate) else ""
    attempts = "one attempt" if (samples := evaluate.get("samples", 1)) == 1 else f"{samples} attempts"
    return "\n".join([*lines, "", f"In percent; {attempts} a question, at temperature {evaluate['temperature']}"
                      f"{_manner(evaluate)}{steps}.{_where(about)} An adapter that was chosen for one of these numbers is, in "
                      "that number, luckier than it is good.", ""])


def _acts(config: Mapping[str, Any]) -> bool:
    """Whether what was asked takes steps and runs code; a chain of thought does neither."""
    return config.get("agent") != "cot"


def _where(about: About) -> str:
    """The wall and the engine of the evaluations, as far as these noted them."""
    walls = about.ran.get("sandbox", ()) if _acts(about.recipe["evaluate"]) else ()
    behind = " and ".join("without a wall" if wall == "none" else f"behind {wall}" for wall in walls)
    engines = " and ".join(about.ran.get("engine", ()))
    said = ", ".join(filter(None, [behind, engines and f"by engine {engines}"]))
    return f" Evaluated {said}." if said else ""


def _use(about: About, merged: Merged | None) -> str:
    text = ('```\nsmartad ask --adapter THIS_FOLDER "question"\n```\nor, without smartad, '
            '`peft.AutoPeftModelForCausalLM.from_pretrained("THIS_FOLDER")`. `adapter_config.json` names the base model as it is '
            "found on the machine that this was pulled on. What it writes is Python that acts for it: run that only where it can "
            "do no harm.\n")
    if merged:
        text += (f"\n`{MERGED}/` is the full model in {merged.dtype}, base and adapter merged in float32, with its tokenizer. "
                 f"Compared with base and adapter: {merged.equal} of {merged.prompts} greedy answers equal, largest difference "
                 f"of a logit {merged.difference:.2g} (at most {merged.bound:g} is accepted).\n")
    return text


def _lineage(about: About) -> str:
    lines = ["| stage | what | finished (UTC), where | smartad's commit |", "| --- | --- | --- | --- |"]
    for origin in about.lineage:
        when = time.strftime("%F %T", time.gmtime(origin.finished)) + f", {origin.host}" if origin.finished else tables.HOLE
        commit = f"`{origin.commit}`" if origin.commit else tables.HOLE
        lines.append(f"| `{origin.fingerprint}` | {origin.what} | {when} | {commit} |")
    versions = about.lineage[-1].versions or {}
    named = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return "\n".join([*lines, "", f"Trained with {named}.", ""])


def _licence(about: About) -> str:
    lines = "".join(f"| {what} | {licence or UNKNOWN} |\n" for what, licence in about.licences.items())
    return ("What the adapter was made from, and under which licence that is. Whether all of it binds the adapter is for you to "
            f"find out before you pass it on.\n\n| | |\n| --- | --- |\n{lines}")


def _yaml(value: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(to_json(value), sort_keys=False, allow_unicode=True, width=120))
