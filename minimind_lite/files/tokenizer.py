"""A tokenizer is read from a file, or trained on texts as the shipped one was."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from minimind_lite.chat import END, PAD, START


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a `tokenizer.json`, ours or MiniMind's. Raises `ValueError` if it can't be read."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(
            f"{path} can't be read as a tokenizer ({error}); expected the tokenizer.json "
            "of this project's data/ or of MiniMind's model/ folder."
        ) from None


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer of at most `vocab_size` tokens, MiniMind's kind.

    Same texts in the same order, same tokenizer. Source: Sennrich et al., arXiv 1508.07909;
    over bytes as in GPT-2, section 2.2, so that no text is out of vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
