"""Makes the dashboards: python3 compose/grafana/make [--check].

Each module beside this one describes one; what comes out is compose/grafana/dashboards/*.json, which is committed,
since Grafana reads it as it is. `--check` writes nothing and fails where a file is not what would come out.
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True

import cost
import guard
import health
import overview
import sessions
import tools

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "dashboards"


def main():
    check = sys.argv[1:] == ["--check"]
    stale = []
    for module in (overview, sessions, cost, tools, guard, health):
        path = FOLDER / f"{module.__name__}.json"
        text = json.dumps(module.board().model(), indent=2, ensure_ascii=False) + "\n"
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"{', '.join(stale)}: not what is described; run python3 compose/grafana/make")


main()
