"""Build everything in data/ from data/corpus/, to the same bytes each time.

    python data/build.py            rebuild it all (about five minutes on two cores)
    python data/build.py --files    only the text files and the tokenizer (seconds)
    python data/build.py --lab      only the recorded runs of the Spike Lab that are missing
    python data/build.py --check    rebuild into a temporary folder and compare with what is committed

corpus/*.jsonl -> check -> split (probes, pretraining, SFT, disjoint) -> layout of sft.jsonl
-> tokenizer -> base models -> recorded runs. The only randomness is `SEED`. Text files and tokenizer come out
byte for byte; a base model may differ in the last bits on another processor, and --check compares
its loss to three digits.
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

import numpy as np
import torch
from tqdm.auto import tqdm

from minimind_lite import trainer
from minimind_lite.chat import Chat
from minimind_lite.config import ModelConfig, TrainConfig
from minimind_lite.conversations import Conversation
from minimind_lite.files import jsonl, model_file
from minimind_lite.files.tokenizer import load_tokenizer, train_tokenizer
from minimind_lite.lab import recordings
from minimind_lite.model import LanguageModel
from minimind_lite.parallel import available_cores
from minimind_lite.rows import EncodedRows
from minimind_lite.science import layouts, runner
from minimind_lite.science.layouts import CHINESE, OFF_DOMAIN
from minimind_lite.science.store import Store

DATA = Path(__file__).resolve().parent
SEED = 173  # the issue in which the spikes were first reported
PROBES = 36  # held-out conversations of each domain
PRETRAIN_CHINESE = 552  # conversations that the base models learn Chinese from
PRETRAIN_ODD = (
    2  # and of each odd domain: enough to know the alphabet, SCIENCE: the exposure ladder
)
NEAR_DUPLICATE = 0.6  # Jaccard similarity of character 5-grams
BASES = {
    "nano": TrainConfig(
        order="shuffle", epochs=10, learning_rate=3e-3, schedule="minimind", seed=SEED
    ),
    "lite": TrainConfig(
        order="shuffle", epochs=10, learning_rate=2e-3, schedule="minimind", seed=SEED
    ),
}
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
    """Pairs of rows whose sets of character 5-grams have a Jaccard similarity of at least `threshold`."""
    grams = [{text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in map(_plain, rows)]
    holders, found = defaultdict(list), []
    for j, own in enumerate(grams):
        shared = Counter(i for gram in own for i in holders[gram])
        for i, common in shared.items():
            similarity = common / (len(own) + len(grams[i]) - common)
            if similarity >= threshold:
                found.append((similarity, i, j))
        for gram in own:
            holders[gram].append(j)
    return sorted(found, reverse=True)


def _plain(c: Conversation) -> str:
    return "\n".join(content for _, content in c.messages)


def check_corpus(corpus: dict[str, list[Conversation]]) -> None:
    """No near-duplicates anywhere. Raises `ValueError` that lists them (parsing has checked the rest)."""
    rows = [c for domain in corpus.values() for c in domain]
    if pairs := near_duplicates(rows):
        listed = "\n".join(
            f"  {s:.2f}  {Path(rows[i].file).name}:{rows[i].line}  {Path(rows[j].file).name}:{rows[j].line}"
            for s, i, j in pairs
        )
        raise ValueError(f"the corpus has near-duplicates; delete one of each pair:\n{listed}")


@dataclass(frozen=True)
class Split:
    """The corpus dealt out: no conversation is in two parts."""

    probes: dict[str, list[Conversation]]
    pretrain: list[Conversation]
    chinese: list[Conversation]  # for SFT, mixed
    odd: dict[str, list[Conversation]]  # for SFT segments


def split(corpus: dict[str, list[Conversation]], rng: np.random.Generator) -> Split:
    """Deal every domain out by one shuffle: probes first, then pretraining, the rest for SFT."""
    shuffled = {d: [rows[i] for i in rng.permutation(len(rows))] for d, rows in corpus.items()}
    probes = {d: rows[:PROBES] for d, rows in shuffled.items()}
    chinese = [c for d in CHINESE for c in shuffled[d][PROBES:]]
    chinese = [chinese[i] for i in rng.permutation(len(chinese))]
    odd = {d: shuffled[d][PROBES:] for d in OFF_DOMAIN}
    pretrain = chinese[:PRETRAIN_CHINESE] + [c for d in OFF_DOMAIN for c in odd[d][:PRETRAIN_ODD]]
    return Split(
        probes,
        [pretrain[i] for i in rng.permutation(len(pretrain))],
        chinese[PRETRAIN_CHINESE:],
        {d: rows[PRETRAIN_ODD:] for d, rows in odd.items()},
    )


def lay_out(parts: Split, rng: np.random.Generator) -> tuple[list[Conversation], list[dict]]:
    """The rows of sft.jsonl, and the line ranges of its odd segments, ready for JSON."""
    rows, segments = layouts.lay_out(parts.chinese, parts.odd, rng=rng)
    return rows, [asdict(segment) for segment in segments]


def build_text(out: Path) -> None:
    """Write the four text files and the tokenizer."""
    corpus, rng = read_corpus(), np.random.default_rng(SEED)
    check_corpus(corpus)
    parts = split(corpus, rng)
    rows, blocks = lay_out(parts, rng)
    jsonl.write(out / "pretrain.jsonl", [c.messages for c in parts.pretrain])
    jsonl.write(out / "sft.jsonl", [c.messages for c in rows])
    jsonl.write(
        out / "probes.jsonl", [c.messages for domain in parts.probes.values() for c in domain]
    )
    truth = {
        "about": "0-based row ranges, half-open; rows outside are Chinese chat, knowledge and writing, mixed",
        "segments": blocks,
        "probe_rows_per_domain": PROBES,
        "probe_domains": list(parts.probes),
    }
    (out / "sft.blocks.json").write_text(
        json.dumps(truth, indent=1) + "\n", encoding="utf-8", newline="\n"
    )
    # All that training may ever see: this file's rows and those that other layouts may draw.
    trainable = parts.pretrain + parts.chinese + [c for rows in parts.odd.values() for c in rows]
    texts = [content for c in trainable for _, content in c.messages]
    tokenizer = train_tokenizer(texts, ModelConfig.preset("nano").vocab_size)
    (out / "tokenizer.json").write_text(
        tokenizer.to_str(pretty=False) + "\n", encoding="utf-8", newline="\n"
    )


def build_base(name: str, out: Path) -> None:
    """Pretrain one base model on every token of pretrain.jsonl and write it in fp16."""
    chat = Chat(load_tokenizer(out / "tokenizer.json"))
    encoded = chat.encode_rows(
        jsonl.read(out / "pretrain.jsonl"), ModelConfig.preset(name).max_seq_len
    )
    data, config = (
        EncodedRows(encoded.ids, np.ones(len(encoded.ids), bool), encoded.offsets),
        BASES[name],
    )
    model = LanguageModel(ModelConfig.preset(name), seed=SEED)
    with tqdm(
        trainer.train(model, data, config),
        total=config.total_steps(len(data)),
        desc=f"base model {name}",
    ) as steps:
        for record in steps:
            steps.set_postfix(loss=f"{record.loss:.3f}")
    model_file.save_model(out / f"base_{name}.safetensors", model, dtype=torch.float16)


def build_lab() -> None:
    """Record the runs of the Spike Lab that are missing; a stop loses only what is running."""
    store = Store(DATA / "lab")
    jobs = recordings.jobs(store)
    form = "{l_bar}{bar}| {n:.1f}/{total:.1f} passes [{elapsed}<{remaining}]"
    with tqdm(
        total=round(sum(job.variant.cost for job in jobs), 1),
        desc="runs of the lab",
        bar_format=form,
    ) as bar:
        for job in runner.run(jobs, store, processes=available_cores()):
            bar.update(job.variant.cost)


def probe_loss(folder: Path, name: str) -> float:
    """Loss of a base model over all probes, in nats."""
    data = Chat(load_tokenizer(folder / "tokenizer.json")).encode_rows(
        jsonl.read(folder / "probes.jsonl")
    )
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
            print(
                f"base_{name:13s} probe loss {old:.4f} committed, {new:.4f} rebuilt{'' if same else ' DIFFERENT'}"
            )
            wrong += not same
    return wrong


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--files", action="store_true", help="text files and tokenizer only")
    choice.add_argument(
        "--lab",
        action="store_true",
        help="recorded runs of the Spike Lab only, those that are missing",
    )
    choice.add_argument(
        "--check", action="store_true", help="rebuild into a temporary folder and compare"
    )
    arguments = parser.parse_args()
    if arguments.check:
        return min(check(), 1)
    everything = not (arguments.files or arguments.lab)
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
