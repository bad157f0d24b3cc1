"""Was the model hurt? Tables and pictures that hold training loss against what else was measured.

All of it from recorded trials: `evidence` in, a `Plot` or rows of a table out.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from IPython.display import Markdown, display

from minimind_lite import spikes
from minimind_lite.files.shipped import NAMES, Segment
from minimind_lite.plots.base import _RENDER, DOMAIN_COLOURS, Plot, _axes, _style
from minimind_lite.records import Run
from minimind_lite.science import evidence as ev
from minimind_lite.science import segment_metrics
from minimind_lite.science.evidence import Evidence
from minimind_lite.science.intervals import Interval
from minimind_lite.science.trials import Trial

STATES = (
    "base model",
    "file order",
    "shuffled",
)  # of the swap: before any step, and after as many steps in either order


def name_of(segment: str) -> str:
    """For people: English, tiny English ..."""
    return (
        f"tiny {NAMES[segment.removesuffix('_tiny')]}"
        if segment.endswith("_tiny")
        else NAMES[segment]
    )


def _views(records: Evidence) -> dict[str, list[dict[str, segment_metrics.Reading]]]:
    """Readings of every layout, in three views of one file: with learning, without, and shuffled but sorted back."""
    seeds = records.common(("E1", "file"), ("E1", "frozen"), ("E1", "shuffled"))
    runs = {
        "trained": lambda s: records.trial("E1", "file", s).run,
        "frozen": lambda s: records.trial("E1", "frozen", s).run,
        "shuffled, sorted back": lambda s: segment_metrics.in_file_order(
            records.trial("E1", "shuffled", s).run
        ),
    }
    return {view: [segment_metrics.read(run(s)) for s in seeds] for view, run in runs.items()}


def view_heights(records: Evidence) -> dict[str, dict[str, Interval]]:
    """Height of each segment in each of the three views, nats, over layouts."""
    found = _views(records)
    return {
        view: {
            name_of(s): ev.interval(np.array([layout[s].height for layout in layouts]))
            for s in (*ev.LARGE, "en_tiny")
        }
        for view, layouts in found.items()
    }


def agreement(records: Evidence) -> list[dict[str, str]]:
    """Per segment, in how many layouts each view has it above zero, and in how many the detector flags it."""
    found, table = _views(records), []
    for segment in found["trained"][0]:
        row = {"segment": name_of(segment)}
        for view, layouts in found.items():
            mine = [layout[segment] for layout in layouts]
            row[f"{view}: above 0 · flagged"] = (
                f"{sum(r.height > 0 for r in mine)}/{len(mine)} · {sum(r.flagged for r in mine)}/{len(mine)}"
            )
        table.append(row)
    return table


def agreement_said(records: Evidence) -> str:
    """Whether the three views agree in sign, and in what the detector flags: a sentence."""
    found = {
        view: [r for layout in layouts for r in layout.values()]
        for view, layouts in _views(records).items()
    }
    counts = {
        view: (sum(r.height > 0 for r in rs), sum(r.flagged for r in rs), len(rs))
        for view, rs in found.items()
    }
    listed = "; ".join(
        f"{view}: {up} of {n} above zero, {flags} flagged"
        for view, (up, flags, n) in counts.items()
    )
    signs = all(up == n for up, _, n in counts.values())
    most, least = max(c[1] for c in counts.values()), min(counts, key=lambda v: counts[v][1])
    flags = (
        "and in what the detector flags"
        if counts[least][1] >= 0.8 * most
        else f"but not in what the detector flags: of the hills of “{least}” it calls {counts[least][1]}, the others do not reach its threshold"
    )
    return f"{listed}. The views {'agree in sign everywhere' if signs else 'do not agree in sign everywhere'}, {flags}."


def inside(run: Run, probe: str = "zh") -> dict[str, float]:
    """Largest rise of a probe at a measurement inside each segment, from the last one before it, nats; only segments that have one."""
    steps, losses = run.probe(probe)
    found = {}
    for s in segment_metrics.segments(run):
        touched = np.flatnonzero(segment_metrics.shares(run, s) > 0)
        before, within = (
            losses[steps <= touched[0]],
            losses[(steps > touched[0]) & (steps <= touched[-1])],
        )
        if len(before) and len(within):
            found[segment_metrics.segment_name(s)] = float(within.max() - before[-1])
    return found


def inside_said(records: Evidence, *, harm: float) -> str:
    """What the Chinese probe did inside segments, over layouts: sentences. A rise whose interval is not below `harm` counts."""
    seeds = records.common(("E1", "file"))
    found = [inside(records.trial("E1", "file", s).run) for s in seeds]
    rises = {name: [f[name] for f in found if name in f] for name in ev.LARGE}
    said = {
        name_of(name): (ev.interval(np.array(v)), len(v), max(v)) for name, v in rises.items() if v
    }
    listed = "; ".join(
        f"{name} {i.mean:+.2f}"
        + (f" [{i.low:.2f}, {i.high:.2f}]" if n > 1 else "")
        + f" in {n} of {len(seeds)} layouts"
        for name, (i, n, _) in said.items()
    )
    worst = {name: largest for name, (_, _, largest) in said.items() if largest > harm}
    after = "; ".join(
        f"{records.each(lambda t, key=key: segment_metrics.read(t.run)[key].harm, ('E1', 'file'))} ({name})"
        for key in rises
        if (name := name_of(key)) in worst
    )
    rest = (
        f"It rises by more than {harm:g} nats in {', '.join(worst)} (at most {max(worst.values()):.2f}): while the model reads it, it does "
        f"forget some Chinese. At the first measurement after the segment, what is left of it is {after}."
        if worst
        else f"It never rises by more than {harm:g} nats."
    )
    return f"The Chinese probe at measurements *inside* a segment, against the last one before: {listed}. {rest}"


def with_probe(
    run: Run,
    segments: Sequence[Segment],
    *,
    probe: str = "zh",
    title: str = "",
    size: tuple[float, float] = (10, 5.2),
) -> Plot:
    """Training loss above, a held-out probe below on a scale of the same length in nats; odd segments shaded."""
    steps, losses = segment_metrics.probe_to_the_end(run, probe)
    seen = np.append(
        run.column("samples_seen"), run.records[-1].samples_seen + len(run.records[-1].rows)
    )
    with _RENDER, matplotlib.rc_context(_style()):
        figure, (ax, below) = _axes(size, 2, [1, 1])
        ax.plot(seen[:-1], run.loss, color="#111111", lw=1.6)
        below.plot(seen[steps], losses, color="#D55E00", ls="--", marker="o", lw=1.6)
        for each in (ax, below):
            for s in segments:
                each.axvspan(s.start, s.stop, color=DOMAIN_COLOURS[s.domain], alpha=0.35, lw=0)
        for s in segments:
            ax.annotate(
                s.name,
                ((s.start + s.stop) / 2, 1),
                xycoords=("data", "axes fraction"),
                rotation=20,
                ha="left",
                fontsize=11,
            )
        span, middle = np.ptp(ax.get_ylim()), float(np.median(losses))
        below.set_ylim(middle - span / 2, middle + span / 2)
        ax.set_ylabel("training\nloss (nats)")
        ax.set_title(title, pad=52)
        below.set(ylabel=f"held-out\n{NAMES[probe]} (nats)", xlabel="conversations seen")
    return Plot(
        figure,
        f"{title}. Training loss goes from {run.loss.min():.2f} to {run.loss.max():.2f} nats; the probe, at {len(losses)} "
        f"measurements, from {losses.min():.2f} to {losses.max():.2f}. Both scales span the same number of nats.",
    )


def _swapped(trial: Trial, state: str, kind: str) -> float:
    """Loss of a kind of batch under a state in a swap trial, mean over the large segments, nats."""
    return float(
        np.mean(
            [cell[state][kind] for name, cell in trial.values["swap"].items() if name in ev.LARGE]
        )
    )


def swap_table(records: Evidence) -> list[dict[str, object]]:
    """Loss by state (rows) and by batch (columns), means over segments and layouts, nats; and the spread each way."""
    seeds = records.common(("E2", "swap"))
    cells = {
        kind: {
            state: np.mean([_swapped(records.trial("E2", "swap", s), state, kind) for s in seeds])
            for state in STATES
        }
        for kind in ("odd", "base")
    }
    table = [
        {
            "state": state,
            "the segment's first batch": cells["odd"][state],
            "ordinary rows after it": cells["base"][state],
            "difference by rows": cells["odd"][state] - cells["base"][state],
        }
        for state in STATES
    ]
    spread = {kind: max(c.values()) - min(c.values()) for kind, c in cells.items()}
    return [
        *table,
        {
            "state": "difference by state",
            "the segment's first batch": spread["odd"],
            "ordinary rows after it": spread["base"],
            "difference by rows": float("nan"),
        },
    ]


def swap_said(records: Evidence) -> str:
    """What the swap shows of rows and of states: sentences."""
    rows = {
        state: records.each(
            lambda t, state=state: _swapped(t, state, "odd") - _swapped(t, state, "base"),
            ("E2", "swap"),
        )
        for state in STATES
    }
    spread = {
        kind: records.each(
            lambda t, kind=kind: np.ptp([_swapped(t, s, kind) for s in STATES]), ("E2", "swap")
        )
        for kind in ("odd", "base")
    }
    harder = "; ".join(f"{state} {i}" for state, i in rows.items())
    states = "In every state" if all(i.above(0) for i in rows.values()) else "Not in every state"
    return (
        f"{states} the segment's rows are harder than ordinary rows (by {harder} nats). "
        f"On ordinary rows the best and the worst state differ by {spread['base']}; on the segment's rows by {spread['odd']}."
    )


def show_texts(trial: Trial, *, names: Sequence[str] = ("zh", "code", "en")) -> None:
    """What the model answered before and after each segment, a table of it."""
    clean = lambda text: (
        text.replace("<|im_end|>", "").replace("|", "/").replace("\n", " ⏎ ").strip() or "(nothing)"
    )
    lines = [
        "| when | " + " | ".join(f"question in {NAMES[n]}" for n in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    lines += [
        f"| {said['when']} | " + " | ".join(clean(said["answers"][n]) for n in names) + " |"
        for said in trial.values["texts"]
    ]
    display(Markdown("\n".join(lines)))


def tell_apart(records: Evidence, *, spike: float = 0.3, harm: float = 0.1) -> list[dict[str, str]]:
    """Tests of the two kinds of spike, each with what the records show of either.

    ✓: as expected, by the whole interval; ✗: not so; –: not measured. `spike` and `harm` are the
    margins in nats from which a rise of training loss, or of held-out loss, counts.
    """
    hard, sick, calm = (
        ("E2", "odd rows, no pulse"),
        ("E2", "base rows, pulse"),
        ("E2", "base rows, no pulse"),
    )
    both = lambda value: (records.each(value, hard), records.each(value, sick))
    (rise, sick_rise), (lead, sick_lead), (tail, sick_tail) = (
        both(ev.probe_rise),
        both(_first_loss),
        both(_still_above),
    )
    left, sick_left = (
        records.each(lambda a, b: ev.after(a, "zh") - ev.after(b, "zh"), w, calm)
        for w in (hard, sick)
    )
    frozen, again = records.each(ev.height, ("E1", "frozen")), records.each(ev.event_height, calm)
    elsewhere = records.each(
        lambda t: _swapped(t, "base model", "odd") - _swapped(t, "base model", "base"),
        ("E2", "swap"),
    )
    everywhere = records.each(lambda t: min(ev.probe_rise(t, p) for p in t.run.probe_names()), sick)
    second = records.each(_second_epoch, ("E10", "2 epochs, file"))
    back, spread = (
        records.each(ev.sorted_back_height, ("E1", "shuffled")),
        records.each(_kept_by_sorting, ("E9", "pulse, nothing")),
    )
    rows = [
        (
            "freeze the model, same order",
            _tick(frozen.above(spike), f"spike stays: {frozen}"),
            "– (no learning rate, no pulse)",
        ),
        (
            "the same rows, another healthy state",
            _tick(elsewhere.above(spike), f"still hard: {elsewhere}"),
            _tick(again.below(spike), f"no spike: {again}"),
        ),
        (
            "held-out Chinese at the peak",
            _tick(rise.below(harm), f"rises by {rise}"),
            _tick(sick_rise.above(harm), f"rises by {sick_rise}"),
        ),
        (
            "other held-out domains",
            "– (they are being learnt)",
            _tick(everywhere.above(0), f"all rise; the least by {everywhere}"),
        ),
        (
            "next epoch, same order",
            _tick(second.above(spike), f"comes back: {second}"),
            "– (not measured)",
        ),
        (
            "first step of the event",
            _tick(lead.above(spike), f"up at once: {lead}"),
            _tick(sick_lead.below(spike), f"not up yet: {sick_lead}"),
        ),
        (
            "ten steps after its end",
            _tick(tail.below(harm), f"over: {tail}"),
            _tick(sick_tail.above(harm), f"still up by {sick_tail}"),
        ),
        (
            "a shuffled run, sorted back into file order",
            _tick(back.above(0), f"hills again: {back}"),
            _tick(spread.below(0.5), f"no hill; share of its height that is left: {spread}"),
        ),
        (
            "held-out Chinese at the end",
            _tick(left.below(harm), f"left behind: {left}"),
            _tick(sick_left.above(harm), f"left behind: {sick_left}"),
        ),
    ]
    return [dict(zip(("test", "hard rows", "instability"), row)) for row in rows]


def _tick(ok: bool, text: str) -> str:
    return f"{'✓' if ok else '✗'} {text}"


def _second_epoch(trial: Trial) -> float:
    return ev.over_large(segment_metrics.read(trial.run, 1), "height")


def _kept_by_sorting(trial: Trial) -> float:
    """Tallest batch of ordinary rows once a run is sorted back into file order, as a share of its tallest step."""
    back = segment_metrics.in_file_order(trial.run)
    odd = sum(segment_metrics.shares(back, s) for s in segment_metrics.segments(back))
    heights = back.loss - spikes.baseline(back.loss).median
    return float(np.nanmax(heights[odd == 0]) / ev.largest(trial))


def _still_above(trial: Trial) -> float:
    stop = trial.run.info["event"][1]
    return float(np.mean(trial.run.loss[stop + 8 : stop + 13]) - ev.median_before(trial))


def _first_loss(trial: Trial) -> float:
    return float(trial.run.loss[trial.run.info["event"][0]] - ev.median_before(trial))
