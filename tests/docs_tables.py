"""The tables of docs/ that stand between markers, made from the records.

    python tests/docs_tables.py     writes them again; tests/test_docs.py compares

A block begins with <!-- NAME --> and ends with <!-- /NAME -->.
"""

import re
from pathlib import Path

import results_tables
from results_tables import table

from minimind_lite.bench import compare, lab, reproducibility
from minimind_lite.bench.recipes import LADDER, VARIANTS
from minimind_lite.files import shipped

ROOT = Path(__file__).resolve().parents[1]


def machine():
    content, rows = compare.recorded()
    where = content["environment"]
    threads = {row.timing.threads for row in rows if row.variant != "ours"}
    noisy = content["load"] and content["load"] > 1.5 * where["cores"]
    warning = (
        f" The machine was busy (load {content['load']:.0f}): a rough record." if noisy else ""
    )
    return (
        f"Measured on {where['cores']} cores of {where['processor']}, PyTorch {where['torch']}, "
        f"Python {where['python']}; {threads.pop()} threads in an operation.{warning}"
    )


def by_model(rows, variant):
    return {row.model: row for row in rows if row.variant == variant}


def against():
    _, rows = compare.recorded()
    models = list(compare.STEPS)
    fp32, bf16 = by_model(rows, "ours"), by_model(rows, "ours-bf16")
    plain = by_model(rows, "minimind")
    lines = [
        ("MiniMind's step, fp32 against fp32", fp32, lambda r: f"**{r.times['minimind']:.1f} ×**"),
        ("Hugging Face Llama, fp32 against fp32", fp32, lambda r: f"**{r.times['llama']:.1f} ×**"),
        (
            "MiniMind's step (fp32) against ours in bf16",
            bf16,
            lambda r: f"{r.times['minimind']:.1f} ×",
        ),
        ("MiniMind's step, bf16 against bf16", bf16, lambda r: f"{r.times['minimind-bf16']:.1f} ×"),
        ("Hugging Face Llama, bf16 against bf16", bf16, lambda r: f"{r.times['llama-bf16']:.1f} ×"),
        ("of the best matrix product, fp32", fp32, lambda r: f"{r.of_peak:.0%}"),
        ("micro-batches of a batch of 16", fp32, lambda r: str(r.timing.parts)),
    ]
    cells = [[name, *(show(timed[m]) for m in models)] for name, timed, show in lines]
    memory = [f"{plain[m].timing.peak_mb:,.0f} → {fp32[m].timing.peak_mb:,.0f} MB" for m in models]
    cells.append(["highest memory, MiniMind's step → ours", *memory])
    return table(["ours against …", *(f"`{m}`" for m in models)], cells)


def ladder():
    _, rows = compare.recorded()
    models = list(compare.STEPS)
    cells = []
    for name in (*LADDER, "llama"):
        timed = by_model(rows, name)
        speeds = [
            f"{timed[m].tokens_per_second:,.0f} ({timed[m].times['minimind']:.2f} ×)"
            for m in models
        ]
        cells.append([VARIANTS[name].title, *speeds])
    return table(["real tokens per second", *(f"`{m}`" for m in models)], cells)


def gradients():
    _, rows = compare.recorded()
    largest = {
        p: max(r.gradient_difference or 0 for r in rows if r.precision == p)
        for p in ("fp32", "bf16")
    }
    return (
        "All variants of ours have the same gradient as MiniMind's step: the largest difference is "
        f"{largest['fp32']:.0e} of the largest entry in fp32, {largest['bf16']:.0e} in bf16."
    )


def passes():
    content, rows = compare.recorded()
    ours, streaming = by_model(rows, "ours"), content["streaming"]
    size, seconds = streaming["size_mb"], streaming["seconds"]
    steps = -(-2224 // 16)
    cells = [
        *(
            [
                f"{steps} steps of 16 conversations, `{name}`",
                f"{steps * row.timing.seconds:.0f} s",
            ]
            for name, row in ours.items()
        ),
        [f"a file of {size:.0f} MB becomes rows", f"{seconds:.0f} s, {size / seconds:.1f} MB/s"],
        ["highest memory meanwhile", f"{streaming['peak_mb']:.0f} MB"],
        ["the same file the next time, from the cache", f"{streaming['cache_hit_seconds']:.1f} s"],
    ]
    return table(["what", "measured"], cells)


def lab_speed():
    lines = lab.load(shipped.folder() / "bench_lab.json")
    return table(["the Spike Lab", "measured", "goal"], [line.cells() for line in lines])


def again():
    """The passes, and the recordings, that were trained again."""
    _, *parts = reproducibility.load(shipped.folder() / reproducibility.FILE)
    return [reproducibility.table(rows) for rows in parts]


def reproducibility_machine():
    where, *_ = reproducibility.load(shipped.folder() / reproducibility.FILE)
    return (
        f"Measured on {where['cores']} cores of {where['processor']} ({where['vector']} "
        f"instructions), PyTorch {where['torch']}, numpy {where['numpy']}, Python "
        f"{where['python']}; {where['workers']} workers by default."
    )


BLOCKS = {
    "docs/results.md": results_tables.BLOCKS,
    "docs/speed.md": {
        "machine": machine,
        "against": against,
        "ladder": ladder,
        "gradients": gradients,
        "passes": passes,
        "lab": lab_speed,
    },
    "docs/reproducibility.md": {
        "where": reproducibility_machine,
        "rows": lambda: again()[0],
        "recorded": lambda: again()[1],
    },
}


def pattern(name):
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", re.S)


def block(file, name):
    """What stands between the markers now."""
    match = pattern(name).search((ROOT / file).read_text(encoding="utf-8"))
    assert match, f"{file} has no markers {name}"
    return match[2].rstrip()


if __name__ == "__main__":
    for file, blocks in BLOCKS.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        for name, make in blocks.items():
            text = pattern(name).sub(lambda m, make=make: f"{m[1]}{make()}\n{m[3]}", text)
        (ROOT / file).write_text(text, encoding="utf-8")
