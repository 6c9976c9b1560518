"""Result rows to statistics, tables and plots."""
