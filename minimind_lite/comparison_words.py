"""What a comparison of two runs says, in English and in Chinese: labels, notes, and the parts of a sentence.

Both languages have the same keys; a test holds this.
"""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "measure": "measure", "difference": "difference B − A", "run": "{letter}: {name}", "base_loss": "loss of the Chinese rows (nats)",
        "noise": "noise: robust σ of the baseline (nats)", "height": "{domain} ({rows} rows): height (nats), z", "events": "spikes found",
        "tallest": "tallest step above the baseline (nats)", "score": "spike score (window of {window} steps, {sigma:g} sigma), %",
        "width": "width of the tallest spike (conversations)", "recovery": "recovery: width − L, the rows of its segment (conversations)",
        "harm": "Chinese probe across the tallest spike (nats)", "held_out": "held-out loss at the end, Chinese (nats)", "seen": "conversations seen",
        "held_out_odd": "held-out loss at the end, mean of odd domains (nats)", "steps": "optimiser steps", "no event": "{name}: no spike is found.",
        "caption": "Two runs compared. Losses are in nats per token. Height: the first batch wholly inside a segment, in the first pass, minus the "
                   "median of the {window} ordinary steps before it; z: the same in robust σ. An asterisk * says that rows of the segment lie in a "
                   "spike that the detector finds (z ≥ {z:g} and at least {least:g} nats) without knowing where segments are. A number in brackets "
                   "leads to a note.",
        "short": "{name}: {steps} steps are too few; a baseline needs {window}, and one more to judge.",
        "early": "{name}: met before the baseline's {window} steps are there.", "unmet": "{name}: not met in {steps} of {planned} steps.",
        "share": "{name}: no batch lies wholly inside the segment; the height is that of the batch with most of it ({share}).",
        "crowded": "{name}: its first {window} steps, which make the baseline, hold whole batches of odd rows: σ reads too high, heights too low.",
        "elsewhere": "{name}: the tallest spike lies in no odd segment.", "unprobed": "{name}: the held-out probes were not measured there.",
        "scattered": "{name}: shuffled, so no segment lies in one place whose length could be taken off.", "order": "order", "base": "base model",
        "open": "{name}: the spike was not over when the count ended, after {window} steps or with the run, so its end is not known.", "; ": "; ",
        "last": "{name}: not at the end; measured last after {at:,} conversations.", "no Chinese": "{name}: no Chinese row was met.", "next": " ",
        "batch": "Batch sizes differ: nats can be compared, z can't (noise falls as 1/√B), nor can what rests on σ: spikes found and spike score.",
        "order:block": "blocks of {k}", "numbers": "none one two three four five six seven eight nine ten", "change": "{field}: {a} → {b}",
        "changes": " ({listed})", "and": " and ", "while": ", while ", "one": "{lead}{changes}, {body}.", "equal": "The settings are the same{gap}.",
        "several": "{n} settings differ{changes}, so this comparison can't say which one did it: {body}.", "also": "Here {body}.",
        "idle alone": "What differs{changes} can't change the loss of a step{gap}.", "gap=0": ": in the {n} steps that both have, losses are equal",
        "idle": "What else differs{changes} can't change the loss of a step.", "lead:order=shuffle": "With shuffling",
        "gap": ": in the {n} steps that both have, losses differ by at most {gap} nats", "lead:batch_size:up": "With a larger batch",
        "lead:batch_size:down": "With a smaller batch", "lead:learning_rate:up": "With a higher learning rate", "lead:epochs:up": "With more epochs",
        "lead:learning_rate:down": "With a lower learning rate", "lead:optimizer=none": "With the model frozen", "lead:seed": "With another seed",
        "lead:epochs:down": "With fewer epochs", "lead:pulse=1": "Without the learning-rate pulse", "lead:pulse": "With a learning-rate pulse",
        "lead": "With one setting changed", "step": "the tallest step above the baseline", "found=0": "no spike is found instead of {a}",
        "step fell": "{what} fell {little}from {a:.2f} to {b:.2f} nats", "step rose": "{what} rose {little}from {a:.2f} to {b:.2f} nats",
        "step same": "{what} is about the same ({a:.2f} and {b:.2f} nats)", "found=1": "one spike is found instead of {a}",
        "found": "{b} spikes are found instead of {a}", "both=0": "no spike is found in either run", "both=1": "one spike is found in each",
        "both": "{b} spikes are found in each", "end": "the held-out Chinese loss at the end", "training": "the training loss of the Chinese rows",
        "ends": "the held-out Chinese loss at the end (after {a:,} and {b:,} conversations)", "odd": "that of the odd domains",
        "at": "the held-out Chinese loss after {at:,} conversations", "level same": "{what} is the same ({a:.2f} and {b:.2f})",
        "level fell": "{what} is {little}lower ({a:.2f} → {b:.2f})", "level rose": "{what} is {little}higher ({a:.2f} → {b:.2f})",
        "range": "Steps and spikes are compared over conversations {first:,} to {last:,}, which both runs have and can judge.", "quote": "“{name}”",
        "nothing": "there is nothing to compare yet", "met": "Both have met the first {last:,} conversations only.", "little": "slightly ",
        "stopped": "{name} stands at step {steps} of {planned}.", "alone": "One run each: no interval.",
        "hedge": "One run each: no interval, so a slight difference may be chance.",
        "hurt": "Across the tallest spike of {name} the Chinese probe rose by {harm:.2f} nats.",
    },
    "zh": {
        "measure": "指标", "difference": "差值 B − A", "run": "{letter}：{name}", "base_loss": "中文行的损失（nat）", "events": "检出的尖峰数",
        "noise": "噪声：基线的稳健 σ（nat）", "height": "{domain}（{rows} 行）：高度（nat）、z", "tallest": "最高一步高出基线（nat）",
        "score": "尖峰分数（窗口 {window} 步，{sigma:g} sigma），%", "width": "最高尖峰的宽度（对话数）", "seen": "已读对话数", "steps": "优化器步数",
        "recovery": "恢复：宽度 − 所在段的行数 L（对话数）", "harm": "最高尖峰前后中文留出集损失的变化（nat）",
        "held_out": "结束时的留出集损失，中文（nat）", "held_out_odd": "结束时的留出集损失，异类领域平均（nat）",
        "caption": "两次训练的比较。损失的单位是 nat / token。高度：第一轮里第一个完全落在段内的 batch 的损失，减去它之前 {window} "
                   "个普通步的中位数；z：同一高度以稳健 σ 为单位。星号 * 表示这一段有行落在检测器检出的尖峰里（z ≥ {z:g} 且至少高 {least:g} "
                   "nat），检测器并不知道段落在哪里。方括号里的数字指向下面的注。",
        "short": "{name}：只有 {steps} 步，太少；基线需要 {window} 步，再加至少一步才能判断。", "no event": "{name}：没有检出尖峰。",
        "early": "{name}：读到这些行时，基线的 {window} 步还没有凑满。", "unmet": "{name}：计划 {planned} 步，前 {steps} 步里还没有读到这些行。",
        "share": "{name}：没有完全落在段内的 batch，这里取含该段最多的 batch（{share}）。", "elsewhere": "{name}：最高的尖峰不在任何异类段里。",
        "crowded": "{name}：前 {window} 步是最初的基线，其中已有整批的异类行，所以噪声偏高，高度和 z 偏低。", "order": "顺序",
        "scattered": "{name}：数据已打乱，异类段不在一处，没有可减的长度。", "unprobed": "{name}：那里没有测量留出集。", "base": "基座模型",
        "open": "{name}：数满 {window} 步或训练停下时，尖峰还没有过去，所以不知道它在哪里结束。", "no Chinese": "{name}：还没有读到中文行。",
        "last": "{name}：不是结束时的值，最后一次测量在读过 {at:,} 条对话之后。", "order:block": "按块打乱，每块 {k} 行", "; ": "；", "next": "",
        "batch": "批大小不同：nat 可以直接比较，z 不能，因为 batch 均值的噪声按 1/√B 下降；以 σ 为准的尖峰数和尖峰分数也不能直接比较。", "and": "，",
        "numbers": "0 1 2 3 4 5 6 7 8 9 10", "change": "{field}：{a} → {b}", "changes": "（{listed}）", "while": "；",
        "one": "{lead}{changes}，{body}。", "several": "有 {n} 项设置不同{changes}，所以这次比较说不清是哪一项起的作用：{body}。",
        "equal": "两次训练的设置相同{gap}。", "idle alone": "不同的设置{changes}不会改变每一步的损失{gap}。", "also": "这里{body}。",
        "idle": "另外还有不同的设置{changes}，但不会改变每一步的损失。", "gap=0": "：在共有的 {n} 步里，损失完全相同",
        "gap": "：在共有的 {n} 步里，损失最多相差 {gap} nat", "lead:order=shuffle": "打乱之后", "lead:batch_size:up": "批大小增大之后",
        "lead:batch_size:down": "批大小减小之后", "lead:learning_rate:up": "学习率提高之后", "lead:learning_rate:down": "学习率降低之后",
        "lead:optimizer=none": "冻结模型之后", "lead:epochs:up": "轮数增加之后", "lead:epochs:down": "轮数减少之后", "lead": "改动一项设置之后",
        "lead:seed": "换一个随机种子之后", "lead:pulse=1": "去掉学习率脉冲之后", "lead:pulse": "加上学习率脉冲之后", "step": "最高一步高出基线的幅度",
        "step fell": "{what}从 {a:.2f} {little}降到 {b:.2f} nat", "step rose": "{what}从 {a:.2f} {little}升到 {b:.2f} nat",
        "step same": "{what}差不多（{a:.2f} 和 {b:.2f} nat）", "found=0": "检出的尖峰从 {a} 个变为没有", "found=1": "检出的尖峰从 {a} 个变为 1 个",
        "found": "检出的尖峰从 {a} 个变为 {b} 个", "both=0": "两次训练都没有检出尖峰", "both=1": "两次训练各检出 1 个尖峰", "odd": "异类领域的损失",
        "both": "两次训练各检出 {b} 个尖峰", "end": "结束时中文留出集的损失", "ends": "结束时（分别读过 {a:,} 和 {b:,} 条对话）中文留出集的损失",
        "at": "读过 {at:,} 条对话时中文留出集的损失", "training": "中文行的训练损失", "level same": "{what}相同（{a:.2f} 和 {b:.2f}）",
        "level fell": "{what}{little}降低（{a:.2f} → {b:.2f}）", "level rose": "{what}{little}升高（{a:.2f} → {b:.2f}）", "quote": "“{name}”",
        "nothing": "还没有可以比较的数字", "met": "两次训练都读过的只有前 {last:,} 条对话。", "stopped": "{name}共 {planned} 步，只到第 {steps} 步。",
        "range": "幅度和尖峰只比较第 {first:,} 到 {last:,} 条对话：这些两次训练都读过，也都能判断。", "little": "略微",
        "hurt": "{name}的最高尖峰前后，中文留出集的损失升高了 {harm:.2f} nat。", "alone": "每种设置只训练了一次，没有区间。",
        "hedge": "每种设置只训练了一次，没有区间，略微的差别可能只是偶然。",
    },
}
