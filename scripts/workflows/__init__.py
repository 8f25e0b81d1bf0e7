"""The workflow templates as code: `python -m scripts.workflows`."""
