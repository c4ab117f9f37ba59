"""Where to look at a sweep in W&B: a report, where the library for them is installed; otherwise the workspace of its runs."""

import importlib.util
import logging
from pathlib import Path
from urllib.parse import quote

from smartad.records import read_json, write_json
from smartad.redact import redact
from smartad.tracking import wandb_server
from smartad.tracking.base import Summary

logger = logging.getLogger(__name__)


def address(root: Path, summary: Summary, entity: str) -> str:
    """The URL of the sweep's report, made once, or of the workspace of its runs.

    People may change the report, so it is not made again; what it shows is taken from the runs, and grows with them.
    """
    project = wandb_server.project_name()
    workspace = f"{wandb_server.app_url()}/{quote(entity)}/{quote(project)}/groups/{quote(summary.sweep)}/workspace"
    if importlib.util.find_spec("wandb_workspaces") is None:
        return workspace
    file, place = root / "sweeps" / f"{summary.sweep}.wandb-report", f"{wandb_server.server_url()}/{entity}/{project}"
    known = read_json(file)
    if known is None or known["place"] != place:
        try:
            known = {"place": place, "url": _create(summary, entity, project)}
        except Exception as error:  # a report is an extra, and its library young
            logger.warning("W&B makes no report of sweep %s: %s", summary.sweep, redact(repr(error)))
            return workspace
        file.parent.mkdir(exist_ok=True)
        write_json(file, known)
    return str(known["url"])


def _create(summary: Summary, entity: str, project: str) -> str:
    from wandb_workspaces import expr
    from wandb_workspaces.reports import v2 as reports

    def runs(name: str, job_type: str) -> reports.Runset:
        # Aggregates are the rows; the sweep's own run has the table and the figures.
        chosen = [expr.Metric("Group") == summary.sweep, expr.Metric("JobType") == job_type]
        return reports.Runset(entity=entity, project=project, name=name, filters=chosen)

    swept = [*(["arm"] if summary.config.get("arms") else []), *(summary.config.get("space") or {})]
    axes = [reports.ParallelCoordinatesPlotColumn(metric=reports.Config(key.replace(".", "/")), display_name=key)
            for key in swept]
    score = reports.ParallelCoordinatesPlotColumn(metric=reports.SummaryMetric(summary.config["metric"]))
    report = reports.Report(
        entity=entity, project=project, title=f"sweep {summary.sweep}",
        description="Made by smartad publish. It is made once: what you change here stays.",
        blocks=[reports.H1("Comparison"), reports.PanelGrid(
                    runsets=[runs("the sweep", "sweep")],
                    panels=[*(reports.WeavePanelSummaryTable(table_name=f"views/{view.name}") for view in summary.views[:1]),
                            *([reports.MediaBrowser(media_keys=list(summary.figures))] if summary.figures else [])]),
                reports.H1("What the score depends on"), reports.PanelGrid(
                    runsets=[runs("rows", "aggregate")],
                    panels=[reports.ParallelCoordinatesPlot(columns=[*axes, score], layout=reports.Layout(w=24, h=12))])])
    report.save()
    return str(report.url)
