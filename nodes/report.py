"""Report: one evaluation, or two side by side, as a table, a chart and a page to share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from . import host
from .checked import checked
from .listing import schema
from .wires import CATEGORY, TasteEvaluation

if TYPE_CHECKING:
    from ..evaluation.result import Evaluation


class TastemakerReport(io.ComfyNode):
    """Evaluations as a report."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerReport",
            display_name="Report",
            category=CATEGORY,
            description="Makes a report of one evaluation, or of two side by side: a table with intervals, a chart, "
            "the best and worst pictures by each reward, and one HTML file to share.",
            is_output_node=True,
            inputs=[
                TasteEvaluation.Input("before", tooltip="From Evaluate."),
                TasteEvaluation.Input("after", optional=True, tooltip="From another Evaluate, of the same kind."),
                io.String.Input(
                    "filename_prefix",
                    default="tastemaker/report",
                    tooltip="Where the report goes, below the output folder.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="chart"),
                io.String.Output(display_name="text", tooltip="The table in Markdown, with notes."),
            ],
        )

    @classmethod
    @checked(called={"evaluation": "before"})
    def execute(cls, before: Evaluation, filename_prefix: str, after: Evaluation | None = None) -> io.NodeOutput:
        from ..evaluation.report.content import make_report, overview
        from ..evaluation.report.save import save_report
        from ..images.convert import from_pil

        evaluations = [before] if after is None else [before, after]
        report = make_report(evaluations)
        folder, stem, counter = host.output_place(filename_prefix, *report.chart.size)
        paths = save_report(report, evaluations, folder, f"{stem}_{counter:05d}_")
        images = [host.preview_entry(overview(report), "report")]
        saved = f"{report.text}\n\nSaved: {paths[0].name}, with its chart, sheets, JSON and Markdown beside it."
        ui = {"images": images, "text": [saved], "tastemaker_report": [saved]}
        return io.NodeOutput(from_pil(report.chart), report.text, ui=ui)
