"""All tables of a report in reading order."""

from __future__ import annotations

from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.averages import comparison_table, kinds_table, level_tables, suite_table
from prefine_ray.analysis.tables.cells import Table
from prefine_ray.analysis.tables.details import detail_tables, dial_tables, published_table
from prefine_ray.analysis.tables.effects import effects_tables
from prefine_ray.analysis.tables.headline import headline_tables, method_tables
from prefine_ray.analysis.tables.robustness import robustness_tables


def all_tables(summary: Summary) -> list[Table]:
    """Every table in reading order: the story first, the per-weight details last."""
    tables = [*headline_tables(summary), *method_tables(summary)]
    if len(summary.kinds) > len(summary.variants):
        tables.append(kinds_table(summary))
    tables.extend(level_tables(summary))
    tables.extend(effects_tables(summary))
    tables.extend(robustness_tables(summary))
    if len(summary.comparisons):
        tables.append(comparison_table(summary))
    tables.extend(dial_tables(summary))
    for variant in summary.variants:
        if len(summary.suites):
            tables.append(suite_table(summary, variant))
        tables.append(published_table(summary, variant))
    for variant in summary.variants:
        tables.extend(detail_tables(summary, variant))
    return tables
