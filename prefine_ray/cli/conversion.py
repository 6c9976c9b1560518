"""Commands between this project and others: `import` and `export` of policies."""

from __future__ import annotations

import argparse
from pathlib import Path

from prefine_ray.cli.options import Commands, Options, add_task, place

_SOURCES = ("sb3", "rllib", "cleanrl", "omnisafe", "torchscript", "onnx")
_TARGETS = ("onnx", "torchscript", "sb3")
_EXAMPLES = """prefine import ppo.zip --task BallRun -o base.safetensors
  prefine import ppo.zip --task BallRun --vecnormalize vecnormalize.pkl --trust
  prefine import checkpoint_folder --task BallRun --from rllib --trust"""


def register(add: Commands) -> None:
    """Adds the commands."""
    text = "make a policy file of a policy that another library has trained"
    _import_options(add("import", import_, text, _EXAMPLES))
    text = "write the deterministic action of a policy file for another library, and a model card beside it"
    _export_options(add("export", export, text, "prefine export tuned/seed0.safetensors --to onnx -o ball.onnx"))


def _import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=place, metavar="FILE", help="a file, or the folder of an RLlib checkpoint")
    add_task(parser)
    parser.add_argument("-o", "--output", type=place, metavar="OUT", help="default: FILE's name with .safetensors")
    parser.add_argument("--from", dest="source", choices=_SOURCES, help="whose file it is (default: found out)")
    parser.add_argument(
        "--trust", action="store_true", help="unpickle, which runs whatever code the file's author put into it"
    )
    parser.add_argument("--vecnormalize", type=place, metavar="FILE", help="sb3: of VecNormalize.save; a pickle")
    text = "sb3, cleanrl: an .npz file with mean and var of the observations (and epsilon, clip)"
    parser.add_argument("--normalizer", type=place, metavar="FILE", help=text)
    text = "omnisafe: of the network (default: from the run's config.json)"
    parser.add_argument("--activation", choices=("tanh", "relu"), help=text)
    parser.add_argument(
        "--action-range",
        type=float,
        nargs=2,
        default=(-1.0, 1.0),
        metavar=("LOW", "HIGH"),
        help="cleanrl, torchscript, onnx: of the environment that it was trained in (default: -1 1)",
    )


def _export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policy", type=place, metavar="POLICY", help="a policy file")
    parser.add_argument("--to", dest="target", choices=_TARGETS, required=True, help="which library")
    parser.add_argument("-o", "--output", type=place, metavar="OUT", help="default: POLICY's name, here")


def import_(options: Options) -> None:
    """Imports a policy, and says how far its actions are from the file's."""
    from prefine_ray.convert.importing import ImportOptions, detect, import_file
    from prefine_ray.policies.files import save_policy
    from prefine_ray.tasks.spec import get_task

    task = get_task(options.task)
    source = options.source or detect(options.file)
    if source == "rllib":
        from prefine_ray.pretrain.rllib_import import import_rllib

        found = import_rllib(options.file, task, options.trust)
    else:
        names = ("trust", "vecnormalize", "normalizer", "activation")
        said = ImportOptions(
            **{name: getattr(options, name) for name in names}, action_range=tuple(options.action_range)
        )
        found = import_file(options.file, task, None if source == "torch" else source, said)
    output = options.output or Path(options.file.stem + ".safetensors")
    assert found.policy.header is not None
    save_policy(found.policy, output, found.policy.header)
    if found.note:
        print(f"Note: {found.note}")
    print(f"largest difference of an action on random observations: {found.difference:.1e}\n{output}")


def export(options: Options) -> None:
    """Exports a policy, and says how far what was written is from it."""
    from prefine_ray.convert.exporting import export_policy

    done = export_policy(options.policy, options.target, options.output)
    print(f"largest difference of an action on random observations: {done.difference:.1e}\n{done.path}\n{done.card}")
