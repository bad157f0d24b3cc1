"""Build everything in data/ from data/corpus/, to the same bytes each time.

    python data/build.py            rebuild it all (about five minutes on two cores)
    python data/build.py --files    only the text files and the tokenizer (seconds)
    python data/build.py --lab      only the recorded runs of the Spike Lab that are missing
    python data/build.py --bases    only the base models of the experiments, into my_work/bases/
    python data/build.py --verify   replay what other code recorded for the lab
    python data/build.py --check    rebuild into a temporary folder and compare with what is here

corpus/*.jsonl -> check -> split (probes, pretraining, SFT, disjoint) -> layout of sft.jsonl
-> tokenizer -> base models -> recorded runs. The only randomness is `SEED`. Text files and
tokenizer come out byte for byte. A base model may differ in the last bits on another processor,
so --check compares its loss to three digits.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from minimind_lite import trainer
from minimind_lite.chat import Chat
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.conversations import Conversation
from minimind_lite.files import jsonl, model_file
from minimind_lite.files.tokenizer import load_tokenizer, train_tokenizer
from minimind_lite.lab import plan, recordings
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import available_cores
from minimind_lite.science import bases, layouts, replay, runner
from minimind_lite.science.layouts import OFF_DOMAIN
from minimind_lite.science.store import Store
from minimind_lite.segments import CHINESE

DATA = Path(__file__).resolve().parent
SEED = 173  # the issue in which the spikes were first reported
PROBES = 36  # held-out conversations of each domain
PRETRAIN_CHINESE = 552  # conversations that the base models learn Chinese from
PRETRAIN_OFF_DOMAIN = 2  # and of each other domain: enough to know the alphabet
NEAR_DUPLICATE = 0.6  # Jaccard similarity of character 5-grams
BASES = {"nano": 3e-3, "lite": 2e-3}  # learning rate of pretraining
TEXT_FILES = ("pretrain.jsonl", "sft.jsonl", "sft.blocks.json", "probes.jsonl", "tokenizer.json")


def read_corpus() -> dict[str, list[Conversation]]:
    """Conversations by domain, each line checked by the strict reader."""
    return {
        domain: list(jsonl.read(DATA / "corpus" / f"{domain}.jsonl"))
        for domain in CHINESE + OFF_DOMAIN
    }


def near_duplicates(
    rows: list[Conversation], threshold: float = NEAR_DUPLICATE
) -> list[tuple[float, int, int]]:
    """Pairs of rows whose sets of character 5-grams are alike: Jaccard similarity >= threshold."""
    grams = [{text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in map(_plain, rows)]
    rows_with: dict[str, list[int]] = defaultdict(list)  # of the rows before
    pairs = []
    for j, grams_of_row in enumerate(grams):
        shared = Counter(i for gram in grams_of_row for i in rows_with[gram])
        for i, common in shared.items():
            similarity = common / (len(grams_of_row) + len(grams[i]) - common)
            if similarity >= threshold:
                pairs.append((similarity, i, j))
        for gram in grams_of_row:
            rows_with[gram].append(j)
    return sorted(pairs, reverse=True)


def _plain(c: Conversation) -> str:
    return "\n".join(content for _, content in c.messages)


def check_corpus(corpus: dict[str, list[Conversation]]) -> None:
    """No near-duplicates anywhere. Raises `ValueError` that lists them."""
    rows = [c for domain in corpus.values() for c in domain]
    if pairs := near_duplicates(rows):
        places = [f"{Path(c.file).name}:{c.line}" for c in rows]
        listed = "\n".join(f"  {s:.2f}  {places[i]}  {places[j]}" for s, i, j in pairs)
        raise ValueError(f"the corpus has near-duplicates; delete one of each pair:\n{listed}")


@dataclass(frozen=True)
class Split:
    """The corpus dealt out: no conversation is in two parts."""

    probes: dict[str, list[Conversation]]
    pretrain: list[Conversation]
    chinese: list[Conversation]  # for SFT, mixed
    off_domain: dict[str, list[Conversation]]  # for SFT segments


def split(corpus: dict[str, list[Conversation]], rng: np.random.Generator) -> Split:
    """Deal every domain out by one shuffle: probes first, then pretraining, the rest for SFT."""
    shuffled = {d: [rows[i] for i in rng.permutation(len(rows))] for d, rows in corpus.items()}
    probes = {d: rows[:PROBES] for d, rows in shuffled.items()}
    chinese = [c for d in CHINESE for c in shuffled[d][PROBES:]]
    chinese = [chinese[i] for i in rng.permutation(len(chinese))]
    off_domain = {d: shuffled[d][PROBES:] for d in OFF_DOMAIN}
    samples = [c for rows in off_domain.values() for c in rows[:PRETRAIN_OFF_DOMAIN]]
    pretrain = chinese[:PRETRAIN_CHINESE] + samples
    return Split(
        probes,
        [pretrain[i] for i in rng.permutation(len(pretrain))],
        chinese[PRETRAIN_CHINESE:],
        {d: rows[PRETRAIN_OFF_DOMAIN:] for d, rows in off_domain.items()},
    )


def lay_out(
    parts: Split, rng: np.random.Generator
) -> tuple[list[Conversation], list[dict[str, Any]]]:
    """The rows of sft.jsonl, and the row ranges of its segments, ready for JSON."""
    rows, segments = layouts.lay_out(parts.chinese, parts.off_domain, rng=rng)
    return rows, [asdict(segment) for segment in segments]


def build_text(out: Path) -> None:
    """Write the four text files and the tokenizer."""
    corpus, rng = read_corpus(), np.random.default_rng(SEED)
    check_corpus(corpus)
    parts = split(corpus, rng)
    rows, blocks = lay_out(parts, rng)
    jsonl.write(out / "pretrain.jsonl", [c.messages for c in parts.pretrain])
    jsonl.write(out / "sft.jsonl", [c.messages for c in rows])
    probes = [c.messages for domain in parts.probes.values() for c in domain]
    jsonl.write(out / "probes.jsonl", probes)
    truth = {
        "about": "0-based row ranges, half-open; rows outside are Chinese chat, knowledge and "
        "writing, mixed",
        "segments": blocks,
        "probe_rows_per_domain": PROBES,
        "probe_domains": list(parts.probes),
    }
    _write(out / "sft.blocks.json", json.dumps(truth, indent=1))
    # All that training may ever see: this file's rows and those that other layouts may draw.
    off_domain = [c for rows in parts.off_domain.values() for c in rows]
    trainable = parts.pretrain + parts.chinese + off_domain
    texts = [content for c in trainable for _, content in c.messages]
    tokenizer = train_tokenizer(texts, ModelConfig.preset("nano").vocab_size)
    _write(out / "tokenizer.json", tokenizer.to_str(pretty=False))


def _write(path: Path, text: str) -> None:
    path.write_text(f"{text}\n", encoding="utf-8", newline="\n")


def build_base(name: str, out: Path) -> None:
    """Pretrain one base model on every token of pretrain.jsonl and write it in fp16."""
    shape = ModelConfig.preset(name)
    chat = Chat(load_tokenizer(out / "tokenizer.json"))
    data = chat.encode_rows(jsonl.read(out / "pretrain.jsonl"), shape.max_seq_len)
    model = LanguageModel(shape, seed=SEED)
    steps = bases.pretrain(model, data, learning_rate=BASES[name], seed=SEED)
    total = bases.EPOCHS * -(-len(data) // TrainConfig().batch_size)
    with tqdm(steps, total=total, desc=f"base {name}") as records:
        for record in records:
            records.set_postfix(loss=f"{record.loss:.3f}")
    model_file.save_model(out / f"base_{name}.safetensors", model, dtype=torch.float16)


def build_bases() -> None:
    """Pretrain the base models of the experiments that are not in their cache."""
    for name in tqdm(bases.BASES, desc="bases of the experiments"):
        bases.base_model(name)


def build_lab() -> None:
    """Record the runs of the Spike Lab that are missing; a stop loses only what is running."""
    store = Store(DATA / "lab")
    jobs = recordings.jobs(store)
    passes = round(sum(job.variant.cost for job in jobs), 1)
    with tqdm(total=passes, desc="runs of the lab", unit="pass") as bar:
        for job in runner.run(jobs, store, processes=available_cores()):
            bar.update(job.variant.cost)


def verify_lab() -> int:
    """Replay what other code recorded, accept equal bits; returns how many trials differ."""
    wrong = 0
    store = Store(DATA / "lab")
    for job, different in replay.verify(plan.experiments(), store, processes=available_cores()):
        print(f"{job}: {'differs in ' + ', '.join(different) if different else 'the same bits'}")
        wrong += bool(different)
    return wrong


def probe_loss(folder: Path, name: str) -> float:
    """Loss of a base model over all probes, in nats."""
    chat = Chat(load_tokenizer(folder / "tokenizer.json"))
    data = chat.encode_rows(jsonl.read(folder / "probes.jsonl"))
    return trainer.mean_loss(model_file.load_model(folder / f"base_{name}.safetensors"), data)


def check() -> int:
    """Rebuild elsewhere and compare; returns the number of differences."""
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        build_text(out)
        for name in TEXT_FILES:
            same = (out / name).read_bytes() == (DATA / name).read_bytes()
            print(f"{name:18s} {'same bytes' if same else 'DIFFERENT'}")
            wrong += not same
        for name in BASES:
            build_base(name, out)
            old, new = probe_loss(DATA, name), probe_loss(out, name)
            same = round(old, 3) == round(new, 3)
            verdict = "" if same else " DIFFERENT"
            print(f"base_{name:13s} probe loss {old:.4f} here, {new:.4f} rebuilt{verdict}")
            wrong += not same
    return wrong


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choice = parser.add_mutually_exclusive_group()
    for name in ("files", "lab", "bases", "verify", "check"):
        choice.add_argument(f"--{name}", action="store_true", help="see above")
    arguments = parser.parse_args()
    if arguments.check:
        return min(check(), 1)
    if arguments.verify:
        return min(verify_lab(), 1)
    if arguments.bases:
        build_bases()
    everything = not (arguments.files or arguments.lab or arguments.bases)
    if arguments.files or everything:
        build_text(DATA)
    if everything:
        for name in BASES:
            build_base(name, DATA)
        shutil.rmtree(DATA / "lab", ignore_errors=True)  # of the base models before
    if arguments.lab or everything:
        build_lab()
    return 0


if __name__ == "__main__":
    sys.exit(main())
