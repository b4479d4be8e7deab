"""The stages: plain functions of settings and inputs that report progress and write one folder.

A folder ends with its manifest, written last: one with a manifest is complete, one without is resumed or redone.
`python -m engine.stages.NAME RUN ROUND` runs the stages that hold the GPU, finetune and infer, by themselves.
"""
