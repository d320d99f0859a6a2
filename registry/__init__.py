"""The model registry: facts about model versions, kept as S3 objects and nothing else."""
