"""Compare runs: list the settings that differ and the results, best first.

python scripts/compare.py outputs/sweep_2026-11-23_09-27-56-189465
python scripts/compare.py outputs --no-groups --format csv --out runs.csv
python scripts/compare.py 'outputs/sweep_*' --curves curves.png --effects effects.png
"""

import shutil
import sys

sys.path.insert(0, __file__.rpartition("/")[0])  # which PYTHONSAFEPATH=1 leaves out

import entry
from charrnn.utils.cli import CommandParser
from charrnn.utils.streams import require_stdout

DEFAULT_WIDTH = 120  # characters, if stdout is not a terminal
MAX_NAMED_RUNS = 5  # in the warning about runs without a curve


def main() -> None:
    parser = CommandParser(description="Compare runs: the settings that differ and the results, best first.")
    parser.add_argument(
        "runs", nargs="*", help="folders of runs or sweeps, folders that contain them, or patterns (default: outputs)"
    )
    parser.add_argument(
        "--no-groups", action="store_true", help="list every run, also those that differ only in the seed"
    )
    parser.add_argument(
        "--format", choices=("text", "markdown", "csv", "json"), default="text", help="table format (default: text)"
    )
    parser.add_argument("--out", metavar="FILE", help="write the table to FILE (default: print it)")
    parser.add_argument("--curves", metavar="FILE", help="plot the validation curves to FILE (.png, .svg, .pdf)")
    parser.add_argument(
        "--x", choices=("steps", "characters", "minutes"), help="horizontal axis of --curves (default: steps)"
    )
    parser.add_argument(
        "--effects", metavar="FILE", help="plot the effect of each setting that differs on the result to FILE"
    )
    arguments = parser.parse_args()
    if arguments.x is not None and arguments.curves is None:
        parser.error("--x needs --curves")
    if not (arguments.out or arguments.curves or arguments.effects):
        require_stdout()

    from charrnn.runs.comparison import TEXT_COLUMNS, by_text, common_folder, setting_text
    from charrnn.runs.leaderboard import GROUPED, as_csv, as_json, compared, has_groups, markdown_tables, text_tables
    from charrnn.runs.records import find_runs, read_run
    from charrnn.utils.files import user_path, write_text
    from charrnn.utils.paths import OUTPUTS

    records = [read_run(folder) for folder in find_runs(arguments.runs or [str(OUTPUTS)])]
    base, texts = common_folder(records), by_text(records)
    tables = compared(texts, base, grouped=not arguments.no_groups)
    if arguments.format == "text":
        runs = "1 run" if len(records) == 1 else f"{len(records)} runs"
        table = f"{runs} in {setting_text(str(base))}, best first, in bits per character\n"
        table += f"{GROUPED}\n\n" if any(has_groups(each.rows) for each in tables) else "\n"
        table += text_tables(tables, shutil.get_terminal_size((DEFAULT_WIDTH, 0)).columns)
    elif arguments.format == "markdown":
        table = markdown_tables(tables)
    else:
        rows = [row for each in tables for row in each.rows]
        text_columns = TEXT_COLUMNS if len(texts) > 1 else ()
        columns = list(dict.fromkeys((*text_columns, *(column for each in tables for column in each.columns))))
        table = as_csv(rows, columns) if arguments.format == "csv" else as_json(rows)
    if arguments.out is None:
        print(table, end="")
    else:
        write_text(user_path(arguments.out), table)

    if arguments.curves or arguments.effects:
        from charrnn.visualization.run_plots import draw_curves, draw_effects
    if arguments.curves:
        missing = draw_curves(texts, arguments.x or "steps", user_path(arguments.curves))
        if missing:
            names = ", ".join(str(record.folder.relative_to(base)) for record in missing[:MAX_NAMED_RUNS])
            more = f" and {len(missing) - MAX_NAMED_RUNS} more" if len(missing) > MAX_NAMED_RUNS else ""
            sys.stderr.write(f"compare.py: no validation curve: {names}{more}\n")
    if arguments.effects:
        draw_effects(texts, user_path(arguments.effects))


if __name__ == "__main__":
    entry.run_script(main)
