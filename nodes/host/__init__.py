"""The door to ComfyUI: memory, folders, page, progress, and its own models (`native`).

Importing it imports nothing of the host; its functions do, when the host runs a node.
"""

from .folders import (
    cells_folder,
    check_plain_name,
    evaluations_folder,
    model_folders,
    output_place,
    picture_folder,
    picture_folders,
    reward_folders,
    run_folder,
    score_cache,
    study_file,
    taste_file,
    taste_names,
    weight_file,
    weight_names,
)
from .memory import compute_device, device_gigabytes, in_use, loading, preferred_dtype
from .page import (
    blocked,
    known_picture,
    preview_entry,
    saved_entry,
    tell_page,
    temp_picture,
    view_entry,
    workflow_metadata,
)
from .progress import HostProgress

__all__ = [
    "HostProgress",
    "blocked",
    "cells_folder",
    "check_plain_name",
    "compute_device",
    "device_gigabytes",
    "evaluations_folder",
    "in_use",
    "known_picture",
    "loading",
    "model_folders",
    "output_place",
    "picture_folder",
    "picture_folders",
    "preferred_dtype",
    "preview_entry",
    "reward_folders",
    "run_folder",
    "saved_entry",
    "score_cache",
    "study_file",
    "taste_file",
    "taste_names",
    "tell_page",
    "temp_picture",
    "view_entry",
    "weight_file",
    "weight_names",
    "workflow_metadata",
]
