from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Patch

from prefine_ray.analysis.plots.fronts import front_page
from prefine_ray.analysis.plots.labels import place_labels
from prefine_ray.analysis.plots.save import save_plots
from prefine_ray.analysis.plots.style import panel_grid, weight_colors
from prefine_ray.analysis.report import Report
from prefine_ray.analysis.rows import load_results
from prefine_ray.analysis.summary import summarize
from tests.analysis.synthetic import synthetic_episodes, write_results


def test_every_plot_is_there_and_shows_something(report: Report):
    assert [path.name for path in report.plots] == [
        "fronts.png",
        "reductions.png",
        "effects.png",
        "front_BallRun.png",
        "front_HopperVelocity.png",
        "curves_BallRun.png",
        "curves_HopperVelocity.png",
    ]
    for path in report.plots:
        picture = imread(path)[..., :3]
        assert min(picture.shape[:2]) > 300
        assert 0.01 < (picture.min(axis=-1) < 0.99).mean() < 0.8, path
    assert not [path for path in report.plots[0].parent.iterdir() if path not in report.plots]  # no half files


def test_nothing_is_cut_off_at_the_edge(report: Report):
    for path in report.plots:
        picture = imread(path)[..., :3]
        for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
            assert (edge == 1.0).all(), path


def test_plots_of_partial_results(tmp_path: Path):
    rows = synthetic_episodes(tasks=("BallRun",), weights=(0.0,), seeds=1, with_base=False)
    harmless = synthetic_episodes(tasks=("CarRun",), weights=(), seeds=1).assign(cost=0.0)
    summary = summarize(load_results(write_results(tmp_path, pd.concat([rows, harmless]))))
    plots = save_plots(summary, pd.DataFrame(), tmp_path / "plots")
    assert [plot.path.name for plot in plots] == [
        "fronts.png",
        "reductions.png",
        "front_CarRun.png",
        "front_BallRun.png",
    ]


def test_a_method_that_is_far_off_stands_at_the_edge_with_its_reward(tmp_path: Path):
    rows = synthetic_episodes(tasks=("BallRun",), weights=(0.0, 5.0))
    other = rows[rows["weight"] == 0.0].assign(method="trac", weight=np.nan, cell="trac" + rows["cell"])
    other["return"] -= 20 * rows["return"].abs().max()
    summary = summarize(load_results(write_results(tmp_path, pd.concat([rows, other]))))
    figure = front_page(summary, summary.variants[0], weight_colors(summary.cells["weight"]))
    [axes] = figure.axes
    cells = summary.cells.set_index("method")["normalized_reward"]
    (text,) = [text.get_text() for text in axes.texts if text.get_text().startswith("TraC")]
    assert text == f"TraC ↓{cells['trac']:.2f}"
    low, high = axes.get_ylim()
    assert high - low < 3 * (cells.drop("trac").max() - cells.drop("trac").min() + 0.2)
    [height] = [float(line.get_ydata()[0]) for line in axes.get_lines() if (line.get_gid() or "").startswith("TraC")]
    assert low < height < low + 0.1 * (high - low)


def test_a_weight_keeps_its_colour_and_the_colours_differ():
    colors = weight_colors(pd.Series([5.0, 0.0, np.nan, 1.0, 5.0]))
    assert list(colors) == [0.0, 1.0, 5.0]
    lightness = [float(np.dot(color[:3], [0.299, 0.587, 0.114])) for color in colors.values()]
    assert np.diff(lightness).min() > 0.15  # told apart without colour vision
    assert lightness[-1] < 0.8  # and from the white page


def test_panels_and_legend_do_not_overlap():
    handles = [Patch(label=f"weight {weight}") for weight in range(8)]
    figure, grid = panel_grid(7, 3, (2.0, 1.5), handles, label="step", head=0.3)
    FigureCanvasAgg(figure)
    title = figure.suptitle("title", fontsize=11, y=0.985)
    figure.draw_without_rendering()
    assert len(grid) == 7
    others = [title.get_window_extent(), figure.legends[0].get_window_extent()]
    boxes = [*others, *(axes.get_tightbbox() for axes in grid)]
    assert not [(i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_labels_avoid_one_another():
    figure = Figure(figsize=(4, 4))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    values = np.linspace(0.4, 0.5, 6)
    scores = np.stack([np.stack([values, values - 0.02, values + 0.02], axis=-1)] * 2, axis=1)
    place_labels(axes, scores, ["1", "2", "5", "10", "20", "50"], scores[:, :, 0])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 6
    assert sum(boxes[i].overlaps(boxes[j]) for i in range(6) for j in range(i)) == 0
