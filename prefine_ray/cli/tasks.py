"""`prefine tasks list | check`: the tasks that there are, and whether an own one can be trusted."""

from __future__ import annotations

from prefine_ray.cli.options import Commands, Options, add_own_tasks, completed_by, config_names, task_names


def register(add: Commands) -> None:
    """Adds the commands."""
    text = "list the tasks, or check one of your own"
    group = add.group("tasks", text, "prefine tasks check --config lane.yaml", list_tasks)
    text = "list the tasks with their sizes, scores and thresholds"
    group("list", list_tasks, text, "prefine tasks list")
    text = "try spaces, costs, seeds, ends and pictures, and say what is wrong; status 1 if anything is"
    parser = group("check", check, text, "prefine tasks check --config lane.yaml")
    names = parser.add_argument("names", nargs="*", metavar="NAME", help="tasks (default: all that CONFIG defines)")
    completed_by(names, task_names)
    text = "a configuration with task_definitions"
    completed_by(parser.add_argument("--config", metavar="CONFIG", help=text), config_names)


def list_tasks(options: Options) -> None:
    """Prints the tasks."""
    from prefine_ray.tasks.registration import add_plug_ins
    from prefine_ray.tasks.spec import TASKS

    add_plug_ins()
    print(f"{'task':<20} {'suite':<17} {'obs':>4} {'act':>4} {'steps':>6} {'reward 0..1':>18} {'thresholds':>12}")
    for task in TASKS.values():
        reward = f"{task.reward_min:.1f}..{task.reward_max:.1f}"
        limits = "/".join(f"{t:g}" for t in task.thresholds)
        extra = "" if task.in_benchmark or task.definition else "  (extra)"
        sizes = f"{task.obs_dim:>4} {task.act_dim:>4} {task.horizon:>6}"
        print(f"{task.name:<20} {task.suite:<17} {sizes} {reward:>18} {limits:>12}{extra}")


def check(options: Options) -> int:
    """Tries tasks; 1 when something is wrong with any."""
    from prefine_ray.core.errors import PrefineError
    from prefine_ray.simulators.own_tasks.check import check_task
    from prefine_ray.tasks.spec import get_task

    try:
        defined = add_own_tasks(options.config) if options.config else []
        tasks = [get_task(name) for name in options.names or defined]
    except PrefineError as error:
        print(f"FAILED  definition: {error}")
        return 1
    if not tasks:
        print("nothing to check: name a task, or a configuration with task_definitions")
        return 1
    fine = True
    for task in tasks:
        print(f"{task.name}: {task.suite if task.definition is None else task.definition.env}")
        for finding in check_task(task):
            print(f"{'ok' if finding.ok else 'FAILED':<7} {finding.what}: {finding.text}", flush=True)
            fine &= finding.ok
    return 0 if fine else 1
