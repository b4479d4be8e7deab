"""Fine-tuning of a LoRA adapter.

rows         chats -> token rows
batches      which rows are in which step
attention    kernels, and batches padded or padding-free
loss         the loss of a few rows
fit          parts of a batch that fit into memory
steps        one step: gradients over parts and processes, the dev loss
schedule     the learning rate of each step
stopping     when the dev loss is measured, and when it has stopped falling
checkpoints  everything that the next step depends on, on disk
metrics      metrics.jsonl and trackers
loop         steps, measurements and checkpoints up to the end
run          all of it: `finetune`
"""

from engine.local.training.loop import TrainProgress
from engine.local.training.run import FinetuneResult, finetune

__all__ = ["FinetuneResult", "TrainProgress", "finetune"]
