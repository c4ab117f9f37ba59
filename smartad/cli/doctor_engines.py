"""doctor on the engines, the judges and the retriever of a site profile: do servers answer, and is the one to start there?"""

import shutil
from collections.abc import Iterator

from smartad.cli.doctor import Finding
from smartad.cluster import ClusterConfig
from smartad.engines import served
from smartad.engines.opening import key_of
from smartad.engines.retrieval import remote
from smartad.grading import qa_judge
from smartad.site import EngineSite
from smartad.stage import Runtime
from smartad.types import ToolDown, UserError


def engines(profile: ClusterConfig) -> Iterator[Finding]:
    """What stages that ask a model would find, as seen from here; jobs run elsewhere and may find another thing."""
    elsewhere = profile.cluster == "slurm"
    stages: dict[str, list[str]] = {}
    sites = profile.engines()
    for stage, site in sites.items():
        stages.setdefault(repr(site), []).append(stage)
    for names in stages.values():
        site, who = sites[names[0]], " and ".join(names)
        if site.kind == "hf":
            yield Finding("ok", f"{who}: transformers in the stage's own process")
        elif site.kind == "http":
            yield _server(site, who, elsewhere)
        elif program := shutil.which(site.command[0]):
            yield Finding("ok", f"{who}: a server of the job's own, {program}")
        else:
            yield Finding("warn" if elsewhere else "fail", f"{who}: no program {site.command[0]} on this machine",
                          "give its whole path in engine.command; vLLM lives in an environment of its own")


def retriever(url: str, elsewhere: bool) -> Iterator[Finding]:
    """Whether a retriever answers at ``url``.  ``elsewhere``: stages run on other machines, which may find another thing."""
    try:
        served_there = remote.served(url)
    except (ToolDown, UserError) as error:
        yield Finding("warn" if elsewhere else "fail", f"collect and evaluate: {error}",
                      "the nodes may reach it nevertheless" if elsewhere else
                      "start `smartad serve-retriever`, or mend retriever in the site profile")
        return
    yield Finding("ok", f"collect and evaluate: {url} serves {served_there}")


def judges(profile: ClusterConfig) -> Iterator[Finding]:
    """What each judge says to a right answer: that costs a question."""
    sites = profile.judge_sites()
    for name in sites:
        way_out = f"mend judges.{name} in the site profile, or use a judge that is one"
        try:
            said = qa_judge.try_out(name, Runtime(judges=sites))
        except UserError as error:
            yield Finding("fail", str(error), way_out)
            continue
        if said.correct is None and profile.cluster == "slurm":
            yield Finding("warn", said.reason, "the nodes may reach it nevertheless")
        else:
            yield Finding("ok" if said.correct else "fail", f"asked whether a right answer is right: {said.reason}",
                          "" if said.correct else way_out)


def _server(site: EngineSite, who: str, elsewhere: bool) -> Finding:
    url = served.base_url(site.url or "")
    try:
        there = served.models(url, key_of(site), site.key_variable)
        if site.model is not None and site.server == "auto":  # as the stage does
            served.check_listed(url, site.model, there)
    except (ConnectionError, UserError) as error:
        return Finding("warn" if elsewhere else "fail", f"{who}: {error}",
                       "the nodes may reach it nevertheless" if elsewhere else "start it, or mend engine.url")
    return Finding("ok", f"{who}: {url}{' (vLLM)' if there.vllm else ''} serves {', '.join(there.roots) or 'nothing'}")
