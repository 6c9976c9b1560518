"""`prefine label` and `prefine labels ...`: people's judgement of clips."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from prefine_ray.cli import label_study
from prefine_ray.cli.options import (
    COUNT,
    SEED,
    Commands,
    Options,
    add_data_directory,
    add_task,
    amount,
    collected_file,
    place,
    whole_number,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from prefine_ray.labeling.clips import OwnVideos, ReplayedClips
    from prefine_ray.labeling.session import Session, SessionSettings
    from prefine_ray.tasks.spec import Task

_MOST_QUESTIONS = 10_000
_ANY = 2**31  # a report asks for no data: every number of a trajectory will do


def register(add: Commands) -> None:
    """Adds the commands."""
    text = "serve a page on this machine on which people judge clips of trajectories"
    example = (
        "prefine label --task BallRun\n"
        "  prefine label --task BallRun --videos recorded\n"
        "  prefine label data.hdf5 --task BallRun --pairs --choose active --questions 60"
    )
    _label_options(add("label", label, text, example))
    report = "prefine labels report labels/BallRun-pairs"
    of_answers = add.group("labels", "what comes of people's answers", report)
    parser = of_answers("report", show_report, "answers, agreement, contradictions and errors of a folder", report)
    parser.add_argument("answers", type=place, metavar="DIR", help="a folder of `prefine label`, or a CSV of pairs")
    example = "prefine labels sets pairs.csv --task BallRun --preferred 20 --dispreferred 10 --output labels.csv"
    _sets_options(of_answers("sets", sets, "make labels of pairs by Bradley-Terry scores", example))
    example = "prefine labels import export.json --task BallRun --output pairs.csv"
    _import_options(of_answers("import", import_pairs, "make pairs of a JSON export of Label Studio", example))
    label_study.register(of_answers)


def _label_options(parser: argparse.ArgumentParser) -> None:
    _data_options(parser)
    parser.add_argument("--pairs", action="store_true", help="two clips side by side instead of one")
    parser.add_argument("--videos", type=place, metavar="DIR", help="your videos instead of replays: .mp4 or .webm")
    parser.add_argument("--output", type=place, metavar="DIR", help="default: labels/<task>-<clips or pairs>")
    count = whole_number(1, _MOST_QUESTIONS)
    parser.add_argument("--questions", type=count, default=100, metavar="N", help="to each rater (default: 100)")
    parser.add_argument(
        "--repeats", type=_repeats, default=0.1, metavar="R", help="share of them that comes twice (default: 0.1)"
    )
    parser.add_argument(
        "--choose", choices=("random", "active"), default="random", help="active: what a small ensemble disagrees on"
    )
    parser.add_argument("--seed", type=SEED, default=0, metavar="S", help="of questions, order and sides (default: 0)")
    parser.add_argument("--show-cost", action="store_true", help="show return and cost")
    parser.add_argument(
        "--threshold", type=amount, metavar="C", help="cost threshold to show (default: the middle one)"
    )
    parser.add_argument("--frames", type=COUNT, default=60, metavar="N", help="pictures of a replay (default: 60)")
    parser.add_argument("--instructions", default="", metavar="TEXT", help="what the raters should look at")
    parser.add_argument("--port", type=whole_number(0, 65535), default=0, metavar="P", help="default: a free one")
    parser.add_argument(
        "--label-studio", type=place, metavar="DIR", help="write tasks, interface and clips for Label Studio instead"
    )


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", type=place, nargs="?", metavar="DATA", help="a DSRL-schema file (default: the collected one)"
    )
    add_task(parser)
    add_data_directory(parser)


def _sets_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pairs", type=place, metavar="PAIRS", help="CSV with the columns better,worse")
    _data_options(parser)
    parser.add_argument("--preferred", type=COUNT, metavar="N", help="best ones (default: a third of the compared)")
    parser.add_argument("--dispreferred", type=COUNT, metavar="N", help="worst ones (default: a third of the compared)")
    parser.add_argument("--output", type=place, required=True, metavar="FILE", help="the labels to write, .csv")


def _import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=place, metavar="FILE", help="what Label Studio exported, format JSON")
    _data_options(parser)
    parser.add_argument("--output", type=place, required=True, metavar="FILE", help="the pairs to write, .csv")


def _repeats(text: str) -> float:
    value = amount(text)
    if value > 0.5:
        raise argparse.ArgumentTypeError(f"{text}: a share from 0 to 0.5 is needed")
    return value


def label(options: Options) -> None:
    """Serves the page until Ctrl-C, then says what came of the answers."""
    from filelock import Timeout

    from prefine_ray.core.files import locked
    from prefine_ray.labeling.session import SessionError

    settings = _settings(options)
    folder: Path = options.output or Path("labels") / f"{settings.task}-{settings.kind}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / ".lock", wait=False):
            session = _session(options, folder, settings)
            try:
                _export(options.label_studio, session) if options.label_studio else _serve(session, options.port)
            finally:
                session.clips.close()
    except Timeout:
        raise SessionError(f"{folder}: another `prefine label` has it open; end that one, or name another") from None


def _settings(options: Options) -> SessionSettings:
    from prefine_ray.core.files import file_digest
    from prefine_ray.labeling.session import SessionError, SessionSettings
    from prefine_ray.tasks.spec import get_task

    task = get_task(options.task)
    if options.label_studio and not options.pairs:
        raise SessionError("--label-studio: it is for pairs; add --pairs")
    return SessionSettings(
        kind="pairs" if options.pairs else "clips",
        task=task.name,
        data=file_digest(_data(options)),
        seed=options.seed,
        count=options.questions,
        repeats=options.repeats,
        choose=options.choose,
        instructions=options.instructions,
    )


def _data(options: Options) -> Path:
    from prefine_ray.tasks.spec import get_task

    return options.data or collected_file(get_task(options.task).name, options.data_dir)


def _session(options: Options, folder: Path, settings: SessionSettings) -> Session:
    from prefine_ray.data.hdf5 import read_dsrl, read_summary
    from prefine_ray.labeling.active import features
    from prefine_ray.labeling.session import Session
    from prefine_ray.rollouts.replay import check_seeds
    from prefine_ray.tasks.spec import get_task

    task, path = get_task(options.task), _data(options)
    summary = read_summary(path, task)
    if not options.videos:
        check_seeds(summary.seeds)
    clips, trajectories = _clips(options, folder, task, path, len(summary))
    table: NDArray[np.float64] | None = None
    if options.choose == "active":
        table = features(read_dsrl(path, task))
    costs = summary.costs if options.show_cost else None
    return Session(folder, settings, trajectories, clips, table, costs)


def _clips(
    options: Options, folder: Path, task: Task, path: Path, num_episodes: int
) -> tuple[OwnVideos | ReplayedClips, list[int]]:
    """The clips, and the numbers of the trajectories that have one."""
    from prefine_ray.data.hdf5 import read_dsrl
    from prefine_ray.labeling.clips import OwnVideos, ReplayedClips

    if options.videos:
        videos = OwnVideos(options.videos, num_episodes)
        return videos, videos.trajectories
    shown = task.middle_threshold if options.threshold is None else options.threshold
    clips = ReplayedClips(
        task,
        lambda number: read_dsrl(path, task, [number]),
        folder / "clips",
        options.frames,
        shown if options.show_cost else None,
    )
    return clips, list(range(num_episodes))


def _serve(session: Session, port: int) -> None:
    from prefine_ray.labeling.server import open_port, serve
    from prefine_ray.labeling.views import report

    listening, token = open_port(port), secrets.token_urlsafe(24)
    print(f"Open http://127.0.0.1:{listening.getsockname()[1]}/?token={token}", flush=True)
    print("Every answer is saved at once. Ctrl-C ends; the same command resumes.", flush=True)
    try:
        serve(session, listening, token)
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()
    print(report(session.settings.kind, session.answers.standing))
    if session.answers.standing:
        print(f"Train on it: prefine finetune --task {session.settings.task} --labels {session.view_path}")


def _export(folder: Path, session: Session) -> None:
    from prefine_ray.labeling.label_studio import export_folder

    print(export_folder(folder, session))


def show_report(options: Options) -> None:
    """Prints the report of a folder, or of a file of pairs."""
    from prefine_ray.data.pairs import read_pairs
    from prefine_ray.labeling.answers import AnswerFile
    from prefine_ray.labeling.session import ANSWER_FILE, read_about
    from prefine_ray.labeling.views import answers_of, report

    if options.answers.suffix.lower() == ".csv":
        return print(report("pairs", answers_of(read_pairs(options.answers, _ANY)), sides=False))
    about = read_about(options.answers)
    print(report(about["kind"], AnswerFile(options.answers / ANSWER_FILE, about["kind"]).standing))


def sets(options: Options) -> None:
    """Writes labels that Bradley-Terry scores of pairs give."""
    from prefine_ray.core.files import write_text
    from prefine_ray.data.hdf5 import read_summary
    from prefine_ray.data.pairs import read_pairs, sets_of_pairs

    pairs = read_pairs(options.pairs, len(read_summary(_data(options), options.task)))
    found = sets_of_pairs(pairs, options.preferred, options.dispreferred)
    lines = [f"{number},preferred" for number in found.preferred] + [f"{n},dispreferred" for n in found.dispreferred]
    write_text(options.output, "\n".join(["trajectory,label", *lines]) + "\n")
    print(f"{len(found.preferred)} preferred, {len(found.dispreferred)} dispreferred of {len(pairs.compared)} compared")
    print(options.output)


def import_pairs(options: Options) -> None:
    """Writes the pairs of a Label Studio export."""
    from prefine_ray.core.files import write_text
    from prefine_ray.data.hdf5 import read_summary
    from prefine_ray.labeling.label_studio import import_answers
    from prefine_ray.labeling.views import report, view

    answers = import_answers(options.file, len(read_summary(_data(options), options.task)))
    write_text(options.output, view("pairs", answers))
    print(report("pairs", answers))
    print(options.output)
