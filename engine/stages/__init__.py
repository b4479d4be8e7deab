"""The stages: each a module whose `run` does one job of a run and writes one folder.

A folder ends with its manifest, written last: one with a manifest is complete, one without is resumed or redone.
The table of them is `engine.protocol.stages`; `python -m engine.stages NAME RUN ROUND` runs those that have a process
to themselves: coverage, finetune and infer.
"""
