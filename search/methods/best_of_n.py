"""Best of N: finish as many unrelated pictures as the budget pays, keep the best."""

from __future__ import annotations

from ..task import Finished, Task

_ROUND = 8  # pictures between two looks at the limits


def best_of_n(task: Task) -> Finished:
    """Sample, decode and score N pictures, some at a time."""
    return unrelated(task, task.pictures())


def unrelated(task: Task, count: int) -> Finished:
    """Finish so many unrelated pictures, or as many as the limits allow, at least one."""
    sampler, found, recipes = task.sampler, None, task.seeds(count)
    while recipes:
        room = min(_ROUND, len(recipes)) if task.reward.relative is False else len(recipes)
        room = max(1, sampler.meter.room(room)) if found is None else sampler.meter.room(room)
        part, recipes = recipes[:room], recipes[room:]
        done = task.finished(sampler.run(sampler.begin(part)))
        found = done if found is None else found + done
        stopped = sampler.meter.spent()
        if stopped:
            found = found._replace(note=stopped if recipes else "")
            break
    assert found is not None
    return found._replace(independent=len(found.recipes))
