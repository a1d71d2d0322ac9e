"""Many runs side by side: what differs in their settings and what came out, best first.

python scripts/compare.py outputs/sweep_2026-11-23_09-27-56-189465
python scripts/compare.py outputs --no-groups --format csv --out runs.csv
python scripts/compare.py 'outputs/sweep_*' --curves curves.png --effects effects.png
"""

import shutil
import sys

import entry
from charrnn.utils.cli import CommandParser

WIDTH = 120  # where there is no terminal
NAMED = 5  # of many runs; enough to see what is the matter


def main() -> None:
    parser = CommandParser(description="Compare runs: settings that differ, results, best first.")
    parser.add_argument("runs", nargs="*", help="run folders, sweeps, whole trees, patterns (all of outputs/)")
    parser.add_argument("--no-groups", action="store_true", help="every run, also those that differ in the seed only")
    parser.add_argument("--format", choices=("text", "markdown", "csv", "json"), default="text", help="(text)")
    parser.add_argument("--out", metavar="FILE", help="where the table goes (to the screen)")
    parser.add_argument("--curves", metavar="FILE", help="draw the validation curves: .png, .svg, .pdf")
    parser.add_argument("--x", choices=("steps", "characters", "minutes"), help="what --curves goes over (steps)")
    parser.add_argument("--effects", metavar="FILE", help="draw what each setting that differs does to the result")
    arguments = parser.parse_args()
    if arguments.x is not None and arguments.curves is None:
        parser.error("--x goes with --curves")

    from charrnn.runs.comparison import SEED, common_folder, differing, group_rows, run_rows, setting_text
    from charrnn.runs.leaderboard import GROUPED, as_csv, as_json, as_markdown, on_screen
    from charrnn.runs.records import find_runs, read_run
    from charrnn.utils.files import user_path, write_text
    from charrnn.utils.paths import OUTPUTS

    records = [read_run(folder) for folder in find_runs(arguments.runs or [str(OUTPUTS)])]
    keys, base = differing(records), common_folder(records)
    if arguments.no_groups:
        rows, columns = run_rows(records, keys, base), [*keys, SEED]
    else:
        rows, columns = group_rows(records, keys, base), keys
    if arguments.format == "text":
        table = f"{len(records)} runs in {setting_text(str(base))}, best first, in bits per character\n"
        table += "\n" if arguments.no_groups else f"{GROUPED}\n\n"
        table += on_screen(rows, columns, shutil.get_terminal_size((WIDTH, 0)).columns)
    elif arguments.format == "markdown":
        table = as_markdown(rows, columns)
    else:
        table = as_csv(rows, columns) if arguments.format == "csv" else as_json(rows)
    if arguments.out is None:
        print(table, end="")
    else:
        write_text(user_path(arguments.out), table)

    if arguments.curves or arguments.effects:
        from charrnn.visualization.run_plots import draw_curves, draw_effects
    if arguments.curves:
        without = draw_curves(records, arguments.x or "steps", user_path(arguments.curves))
        if without:
            names = ", ".join(str(record.folder.relative_to(base)) for record in without[:NAMED])
            more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
            sys.stderr.write(f"compare.py: without a curve: {names}{more}\n")
    if arguments.effects:
        draw_effects(records, user_path(arguments.effects))


if __name__ == "__main__":
    entry.run_script(main)
