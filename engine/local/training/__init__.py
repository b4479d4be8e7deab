"""Fine-tuning of a LoRA adapter by TRL's SFTTrainer.

rows         chats -> token rows
batches      which rows are in which step
attention    kernels, and whether batches need padding
memory       bytes that a training takes
fit          parts of a batch that fit into memory
arguments    settings -> SFTConfig
trainer      SFTTrainer with the loss at response tokens, in parts that fit
checkpoints  when checkpoints are written, and which are whole
reporting    progress, metrics.jsonl and trackers
run          all of it: `finetune`
"""

from engine.local.training.reporting import TrainProgress
from engine.local.training.run import FinetuneResult, finetune

__all__ = ["FinetuneResult", "TrainProgress", "finetune"]
