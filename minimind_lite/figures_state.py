"""Was the model hurt? Tables and pictures that hold training loss against what else was measured.

All of it from recorded trials: `evidence` in, a `Plot` or rows of a table out.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from IPython.display import Markdown, display

from . import evidence as ev
from . import readings, spikes
from .assets import NAMES, Segment
from .evidence import Evidence
from .plots import _RENDER, DOMAIN_COLOURS, Plot, _axes, _style
from .records import Run
from .trials import Trial

STATES = ("base model", "file order", "shuffled")  # of the swap: before any step, and after as many steps in either order


def name_of(segment: str) -> str:
    """For people: English, tiny English ..."""
    return f"tiny {NAMES[segment.removesuffix('_tiny')]}" if segment.endswith("_tiny") else NAMES[segment]


def agreement(records: Evidence) -> list[dict[str, str]]:
    """Per segment, in how many layouts each view has it above zero, and in how many the detector flags it."""
    views = {"trained": lambda s: records.trial("E1", "file", s).run, "frozen": lambda s: records.trial("E1", "frozen", s).run,
             "shuffled, sorted back": lambda s: readings.in_file_order(records.trial("E1", "shuffled", s).run)}
    seeds, table = records.common(("E1", "file"), ("E1", "frozen"), ("E1", "shuffled")), []
    found = {view: [readings.read(run(s)) for s in seeds] for view, run in views.items()}
    for segment in found["trained"][0]:
        row = {"segment": name_of(segment)}
        for view, layouts in found.items():
            mine = [layout[segment] for layout in layouts]
            row[f"{view}: above 0 · flagged"] = f"{sum(r.height > 0 for r in mine)}/{len(mine)} · {sum(r.flagged for r in mine)}/{len(mine)}"
        table.append(row)
    return table


def with_probe(run: Run, segments: Sequence[Segment], *, probe: str = "zh", title: str = "", size: tuple[float, float] = (10, 5.2)) -> Plot:
    """Training loss above, a held-out probe below on a scale of the same length in nats; odd segments shaded."""
    steps, losses = run.probe(probe)
    steps, losses = np.append(steps, len(run)), np.append(losses, run.info["probes_after"][probe])
    seen = np.append(run.column("samples_seen"), run.records[-1].samples_seen + len(run.records[-1].rows))
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax, below) = _axes(size, 2, [1, 1])
        ax.plot(seen[:-1], run.loss, color="#111111", lw=1.6)
        below.plot(seen[steps], losses, color="#D55E00", ls="--", marker="o", lw=1.6)
        for each in (ax, below):
            for s in segments:
                each.axvspan(s.start, s.stop, color=DOMAIN_COLOURS[s.domain], alpha=0.35, lw=0)
        for s in segments:
            ax.annotate(s.name, ((s.start + s.stop) / 2, 1), xycoords=("data", "axes fraction"), rotation=20, ha="left", fontsize=11)
        span, middle = np.ptp(ax.get_ylim()), float(np.median(losses))
        below.set_ylim(middle - span / 2, middle + span / 2)
        ax.set_ylabel("training loss (nats)")
        ax.set_title(title, pad=38)
        below.set(ylabel="held-out Chinese (nats)" if probe == "zh" else f"held-out {probe} (nats)", xlabel="conversations seen")
    return Plot(figure, f"{title}. Training loss goes from {run.loss.min():.2f} to {run.loss.max():.2f} nats; the probe, at {len(losses)} "
                        f"measurements, from {losses.min():.2f} to {losses.max():.2f}. Both scales span the same number of nats.")


def swap_table(records: Evidence) -> list[dict[str, object]]:
    """Loss by state (rows) and by batch (columns), means over segments and layouts, nats; and the spread each way."""
    seeds = records.common(("E2", "swap"))
    cells = {kind: {state: np.mean([[cell[state][kind] for name, cell in records.trial("E2", "swap", s).values["swap"].items() if name in ev.LARGE]
                                    for s in seeds]) for state in STATES} for kind in ("odd", "base")}
    table = [{"state": state, "the segment's first batch": cells["odd"][state], "ordinary rows after it": cells["base"][state],
              "difference by rows": cells["odd"][state] - cells["base"][state]} for state in STATES]
    spread = {kind: max(c.values()) - min(c.values()) for kind, c in cells.items()}
    return [*table, {"state": "difference by state", "the segment's first batch": spread["odd"], "ordinary rows after it": spread["base"],
                     "difference by rows": float("nan")}]


def show_texts(trial: Trial, *, names: Sequence[str] = ("zh", "code", "en")) -> None:
    """What the model answered before and after each segment, a table of it."""
    clean = lambda text: text.replace("<|im_end|>", "").replace("|", "/").replace("\n", " ⏎ ").strip() or "(nothing)"
    lines = ["| when | " + " | ".join(f"question in {NAMES[n]}" for n in names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {said['when']} | " + " | ".join(clean(said["answers"][n]) for n in names) + " |" for said in trial.values["texts"]]
    display(Markdown("\n".join(lines)))


def tell_apart(records: Evidence) -> list[dict[str, str]]:
    """Tests of the two kinds of spike, each with what the records show of either."""
    hard, sick = ("E2", "odd rows, no pulse"), ("E2", "base rows, pulse")
    frozen, rise = records.each(ev.height, ("E1", "frozen")), {w: records.each(ev.probe_rise, w) for w in (hard, sick)}
    tail = {w: records.each(_still_above, w) for w in (hard, sick)}
    lead = {w: records.each(_first_loss, w) for w in (hard, sick)}
    left = records.each(lambda a, b: ev.after(a, "zh") - ev.after(b, "zh"), hard, ("E2", "base rows, no pulse"))
    replay = records.each(lambda a, b: ev.after(a, "zh") - ev.after(b, "zh"), sick, ("E2", "base rows, no pulse"))
    return [{"test": "model frozen", "hard rows": f"spike stays: {frozen} nats", "instability": "no pulse without a learning rate"},
            {"test": "held-out Chinese rises by", "hard rows": f"{rise[hard]} nats", "instability": f"{rise[sick]} nats"},
            {"test": "first loss of the event, above the median", "hard rows": f"{lead[hard]} nats", "instability": f"{lead[sick]} nats"},
            {"test": "ten steps after it, still above by", "hard rows": f"{tail[hard]} nats", "instability": f"{tail[sick]} nats"},
            {"test": "held-out Chinese at the end, left behind", "hard rows": f"{left} nats", "instability": f"{replay} nats"}]


def _median_before(trial: Trial) -> float:
    return float(np.median(trial.run.loss[:trial.run.info["event"][0]][-spikes.WINDOW:]))


def _still_above(trial: Trial) -> float:
    stop = trial.run.info["event"][1]
    return float(np.mean(trial.run.loss[stop + 8:stop + 13]) - _median_before(trial))


def _first_loss(trial: Trial) -> float:
    return float(trial.run.loss[trial.run.info["event"][0]] - _median_before(trial))
