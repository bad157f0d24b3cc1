"""The tables of docs/results.md, from the recorded trials."""

import math

from minimind_lite.plots import results
from minimind_lite.plots.decomposition import FAMILIES
from minimind_lite.science import (
    claims,
    decomposition,
    detectors,
    evidence,
    forgetting,
    intervals,
    look_alikes,
    regimes,
    reproduce,
    responses,
    resume_costs,
)
from minimind_lite.science.experiments import E19
from minimind_lite.segments import CHINESE, DOMAINS, LARGE, domain_name

SHUFFLED_BLOCKS = ("E17", "blocks, shuffled")


def table(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def reproduce_table():
    summaries = [reproduce.summarize(run) for run in reproduce.recorded().values()]
    return f"```text\n{reproduce.table(summaries)}\n```"


def scoreboard():
    return claims.markdown(claims.scoreboard(evidence.recorded()))


def over_layouts(value, *which):
    """Intervals of a table of values, by name, over the layouts that all `which` have."""
    records = evidence.recorded()
    return forgetting.over_layouts(
        value(*(records.trial(*w, seed) for w in which)) for seed in records.common(*which)
    )


def terms_table():
    recorded = reproduce.recorded()
    runs = {name: recorded[name] for name in ("file", "frozen")}
    return f"```text\n{reproduce.terms_table(runs)}\n```"


def anatomy():
    records, rows = evidence.recorded(), []
    for family, which in (
        ("short segments", (results.FILE, results.FROZEN)),
        ("long blocks", (results.BLOCKS, results.FROZEN_BLOCKS)),
    ):
        for label, terms in regimes.by_segment(records, *which).items():
            name = "tiny English" if label == "en_tiny" else domain_name(label)
            parts = [terms.height, *(terms.term(term) for term in decomposition.TERMS)]
            rows.append([family, name, *parts, terms.height.n])
    head = [
        "file",
        "begins",
        "height",
        "unfamiliar",
        "transferred (−) or forgotten (+)",
        "specialized",
        "layouts",
    ]
    after = over_layouts(specialized_after, results.BLOCKS, results.FROZEN_BLOCKS)
    return (
        f"{table(head, rows)}\n\nSpecialized in long blocks, by what ended: after a Chinese block "
        f"{after['Chinese']}, after a block of another domain {after['other']}."
    )


def specialized_after(trained, frozen):
    """Mean specialized term of a file, by the kind of block that ended."""
    terms = {"Chinese": [], "other": []}
    for boundary in decomposition.at_boundaries(trained.run, frozen.run):
        kind = "Chinese" if boundary.before.domain in CHINESE else "other"
        terms[kind].append(boundary.terms.specialized)
    return {kind: sum(values) / len(values) for kind, values in terms.items()}


def prediction():
    rows = []
    for family, points in regimes.frozen_against_trained(evidence.recorded()).items():
        line = regimes.fit(points)
        rows.append(
            [
                FAMILIES[family],
                f"{line.n} in {line.files} layouts",
                f"{line.r_squared:.2f}",
                f"{line.slope:.2f} {line.slopes.text(2, sign='').partition(' ')[2]}",
                f"{line.r_squared_as_is:.2f}",
                f"{line.residual:.2f}",
                f"{line.by_held_out:.0%}",
            ]
        )
    head = [
        "family",
        "spikes",
        "R² of the line",
        "slope (over layouts)",
        "R² of the frozen height as it is",
        "left over (nats)",
        "of that explained by what was learnt before",
    ]
    return table(head, rows)


def findings():
    records = evidence.recorded()
    left = over_layouts(lambda t, f: forgetting.dents(t.run, f.run), results.FILE, results.FROZEN)
    later = over_layouts(
        lambda t, f: {
            domain: float(values[8:12].mean())
            for domain, (_, values) in forgetting.dent_curves(t.run, f.run).items()
        },
        results.FILE,
        results.FROZEN,
    )
    rows = []
    for domain in LARGE:
        height = records.over_seeds(lambda t, d=domain: t.readings[d].height, results.FILE)
        rows.append([domain_name(domain), height, left[domain], later[domain]])
    head = ["segment", "height", "left behind, first batch", "left behind, batches 9 to 12"]
    return table(head, rows)


def half_life():
    lives, dents = [], []
    records = evidence.recorded()
    for seed in records.common(results.FILE, results.FROZEN):
        runs = [records.trial(*w, seed).run for w in (results.FILE, results.FROZEN)]
        lives.append(forgetting.dent_half_lives(*runs)["zh_classical"])
        dents.append(forgetting.dents(*runs)["zh_classical"])
    known = [life for life in lives if math.isfinite(life)]
    return (
        f"The dent after classical Chinese, layout by layout: "
        f"{', '.join(f'{dent:+.2f}' for dent in dents)} nats. It has halved after "
        f"{intervals.mean_interval(known).text(0, sign='')} conversations "
        f"({len(known)} layouts of {len(lives)})."
    )


def left_at_the_end():
    rows = []
    for name, file, shuffled in (
        ("short segments", results.FILE, results.SHUFFLED),
        ("long blocks", results.BLOCKS, SHUFFLED_BLOCKS),
    ):
        left = over_layouts(lambda a, b: forgetting.left(a.run, b.run), file, shuffled)
        price = evidence.recorded().over_seeds(
            evidence.change(evidence.held_out_off_domain), file, shuffled
        )
        rows.append([name, *(left[domain] for domain in DOMAINS), f"**{price}**"])
    lost = evidence.recorded().over_seeds(
        lambda trial: sum(forgetting.forgotten(trial.run)[domain] for domain in LARGE) / 4,
        results.CLOSE,
    )
    listed = table(["file", *map(domain_name, DOMAINS), "mean of the four"], rows)
    return (
        f"{listed}\n\nOf the price with short segments, {lost} nats had been learnt and were lost "
        "again (the end above the lowest on the way); the rest was never learnt."
    )


def forgetting_by_optimizer():
    records, rows = evidence.recorded(), []
    for name, which in results.by_optimizer(records, results.CLOSE).items():

        def rises(trial):
            return forgetting.rises(trial.run)["zh_classical"]

        def others(trial):
            return sum(rises(trial)[domain] for domain in ("code", "en", "math")) / 3

        def gained(trial):
            first, last = trial.run.records[0].probes, trial.run.info["probes_after"]
            return sum(first[domain] - last[domain] for domain in LARGE) / 4

        rows.append(
            [
                name,
                records.over_seeds(results.learnt, which),
                records.over_seeds(gained, which),
                records.over_seeds(lambda trial: rises(trial)["zh"], which),
                records.over_seeds(others, which),
                len(records.common(which)),
            ]
        )
    head = [
        "optimizer and rate",
        "learnt: Chinese",
        "learnt: off-domain, mean of four",
        "Chinese, while classical is read",
        "code, English, maths, while classical is read",
        "layouts",
    ]
    return table(head, rows)


def doses():
    measured = responses.responses(evidence.recorded())
    rows = []
    for domain in LARGE:
        slopes = [responses.slopes(layout, "dent", domain=domain) for layout in measured.values()]
        growth = forgetting.over_layouts(slopes)
        usual = responses.curve(measured, "dent", along="length", domain=domain, fixed=1)
        rows.append([domain_name(domain), usual[256], growth["rate"], growth["length"]])
    head = [
        "segment",
        "dent after 256 conversations at the usual rate",
        "more with each doubling of the rate",
        "more with each doubling of the length",
    ]
    return table(head, rows)


def half_lives():
    records, rows = evidence.recorded(), []
    runs = results.by_optimizer(records, results.BLOCKS, prefix="blocks, ")
    for name, which in runs.items():
        life = records.over_seeds(results.half_life_in_blocks, which, results.FROZEN_BLOCKS)
        terms = records.over_seeds(results.mean_height, which, results.FROZEN_BLOCKS)
        learnt = records.over_seeds(results.learnt, which)
        rows.append([name, learnt, life.text(0, sign=""), terms, life.n])
    head = [
        "optimizer and rate",
        "learnt: fall of held-out Chinese",
        "half-life in a block (conversations)",
        "mean height where blocks start",
        "layouts",
    ]
    return table(head, rows)


def controls():
    rows = []
    for name, which in (("a tall spike", look_alikes.TALL), ("a flat curve", look_alikes.FLAT)):
        records = evidence.recorded()
        facts = [look_alikes.facts(records.trial(*which, s)) for s in records.common(which)]
        spikes = ", ".join(f"{fact['spikes']:.0f}" for fact in facts)
        means = forgetting.over_layouts(facts)
        rows.append([name, means["tallest step"], spikes, means["forgotten"]])
    head = ["run", "tallest step (nats)", "flagged spikes, by layout", "most forgotten (nats)"]
    return table(head, rows)


def resumes():
    records = evidence.recorded()
    f = resume_costs.fraction(resume_costs.pairs(records, "exact")[0][1])
    rows = []
    for way in resume_costs.WAYS:
        pairs = resume_costs.pairs(records, way)
        same = sum(resume_costs.same_bits(*pair) for pair in pairs)
        cost = resume_costs.over_layouts(records, way)
        twice, never = resume_costs.expected_shares(E19.variant(way).settings, f)
        rows.append(
            [
                way,
                f"{same} of {len(pairs)}",
                *(cost[name] for name in ("jump", "tallest", "held_out_rise", "off_domain")),
                f"{cost['read_twice'].mean:.1%} ({twice:.1%})",
                f"{cost['never_read'].mean:.1%} ({never:.1%})",
            ]
        )
    head = [
        "way of resuming",
        "layouts with the same bits",
        "training loss, first 10 steps",
        "training loss, tallest step",
        "held-out loss, highest of 20 steps",
        "off-domain held-out loss at the end",
        "rows read twice (law)",
        "rows never read (law)",
    ]
    return table(head, rows)


def resumed_by_layout():
    """What the worst layout of a way shows, as field case #553 was one run, too."""
    lines = []
    for way in ("no optimizer state", "file order", "half-precision moments"):
        costs = [resume_costs.cost(*pair) for pair in resume_costs.pairs(evidence.recorded(), way)]
        lines.append(f"{way} {', '.join(f'{cost.tallest:+z.2f}' for cost in costs)}")
    return f"Tallest step minus the uninterrupted run's, layout by layout: {'; '.join(lines)} nats."


def alike():
    records = evidence.recorded()
    lines = []
    for seed in records.common(results.FILE, results.FROZEN, results.CLOSE):
        pair = look_alikes.furthest_look_alikes(look_alikes.pairs(records, seed))
        if pair is not None:
            names = [f"{t.experiment} {t.variant}" for t in (pair.first, pair.second)]
            lines.append(
                [
                    seed,
                    *names,
                    f"{pair.correlation:.2f}",
                    f"{pair.height_gap:.2f}",
                    f"{abs(pair.end_gap):.2f}",
                ]
            )
    head = [
        "layout",
        "one run",
        "another",
        "correlation of the curves",
        "largest difference of a height (nats)",
        "apart at the end, off-domain (nats)",
    ]
    return table(head, lines)


def detector_rows():
    rows = {}
    for row in detectors.recorded():
        rows.setdefault(row.series, {})[row.detector] = row

    def cells(row):
        hits = f"{row.hits} of {row.segments}" if row.segments else "–"
        return [hits, f"{row.alarms_per_1000:.3f}"]

    head = [
        "series",
        "segments flagged by z",
        "false alarms of z per 1,000 steps",
        "flagged by permutation",
        "false alarms of permutation per 1,000 steps",
    ]
    return table(
        head, [[name, *cells(by["z"]), *cells(by["permutation"])] for name, by in rows.items()]
    )


BLOCKS = {
    "reproduce": reproduce_table,
    "terms": terms_table,
    "anatomy": anatomy,
    "prediction": prediction,
    "findings": findings,
    "half-life": half_life,
    "left": left_at_the_end,
    "forgetting-by-optimizer": forgetting_by_optimizer,
    "doses": doses,
    "half-lives": half_lives,
    "controls": controls,
    "alike": alike,
    "resumes": resumes,
    "resumed-by-layout": resumed_by_layout,
    "detectors": detector_rows,
    "scoreboard": scoreboard,
}
