"""Write the generated pages and notebooks of docs/.

python scripts/build_docs.py
python scripts/build_docs.py --check
python scripts/build_docs.py --execute    # also runs docs/first-model.ipynb, which trains for half a minute
"""

import sys
from pathlib import Path

sys.path.insert(0, __file__.rpartition("/")[0])  # which PYTHONSAFEPATH=1 leaves out

import entry
from charrnn.utils.cli import EXIT_FAILED, CommandParser
from charrnn.utils.files import write_text
from charrnn.utils.paths import PROJECT

DOCS = PROJECT / "docs"
FIRST_MODEL = DOCS / "first-model.ipynb"


def generated_files() -> dict[Path, str]:
    """Return the text of every generated file; the notebook of a first model keeps the outputs that it has."""
    from pages import commands, notebooks, settings

    return {
        DOCS / "reference" / "settings.md": settings.page(),
        DOCS / "reference" / "commands.md": commands.page(),
        DOCS / "inside-the-rnn.ipynb": notebooks.text_of(notebooks.lesson()),
        FIRST_MODEL: notebooks.text_of(notebooks.first_model(notebooks.read(FIRST_MODEL))),
    }


def stale(files: dict[Path, str]) -> list[Path]:
    """Return the files that are missing or have another text."""
    return [file for file, text in files.items() if not file.exists() or file.read_text("utf-8") != text]


def main() -> int:
    parser = CommandParser(description="Write the generated pages and notebooks of docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; name the files that are out of date")
    parser.add_argument("--execute", action="store_true", help="run docs/first-model.ipynb and keep its outputs")
    arguments = parser.parse_args()
    if arguments.check and arguments.execute:
        parser.error("--check writes nothing; leave out --execute")
    files = generated_files()
    if arguments.execute:
        from pages import notebooks

        files[FIRST_MODEL] = notebooks.text_of(notebooks.executed(notebooks.first_model(None), DOCS))
    changed = stale(files)
    for file in changed:
        if not arguments.check:
            write_text(file, files[file])
        print(f"{file.relative_to(PROJECT)}: {'out of date' if arguments.check else 'written'}")
    return EXIT_FAILED if changed and arguments.check else 0


if __name__ == "__main__":
    entry.run_script(main)
