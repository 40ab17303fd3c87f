"""Texts: no place of one machine, no trace of how the work was organised, tables that are true."""

import ast
import re

import pytest

pytestmark = pytest.mark.arch

THIS_FILE = "tests/arch/test_texts.py"
MACHINE_PATH = re.compile(r"(?<![\w.:/$}])/(?:work|home|root|Users|tmp|mnt|workspace)/\w")
ORGANISATION = re.compile(
    r"\b(?:issue|ticket|milestone)s? #?\d+\b"
    r"|\b(?:PR|GH|SPEC|AUDIT|JIRA)[-_ #]{1,2}\d+\b"
    r"|\bhelper [A-Z]\b|\bsub-?agents?\b|\bAI[- ]generated\b"
    r"|\b(?:Claude|Anthropic|ChatGPT|OpenAI|Copilot|Codex)\b"
    r"|\b(?:earlier|previous|another|this|next) (?:agent|chat|conversation|prompt)\b"
    r"|\bCONTRACTS\.md\b"
)
FEATURE_ID = re.compile(r"^[A-Z]+-\d+$")
BUILT = {"done", "part"}


def hits(pattern: re.Pattern, text: str) -> list[tuple[int, str]]:
    return [
        (number, match.group())
        for number, line in enumerate(text.splitlines(), start=1)
        for match in pattern.finditer(line)
    ]


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        (MACHINE_PATH, "No absolute path of one machine in any file."),
        (ORGANISATION, "Files say what is and why, not how the work was organised."),
    ],
    ids=["paths", "organisation"],
)
def test_texts_are_about_the_project(text_files, demand, pattern, rule):
    found = [
        f"{name}:{line} {text!r}"
        for name, content in text_files.items()
        if name != THIS_FILE
        for line, text in hits(pattern, content)
    ]
    demand(found, rule)


def test_the_rules_see_what_they_should():
    bad = ["see /work/x", "in '/home/me'", "(/tmp/a)", "PATH=/Users/me", "\t/root/x"]
    good = ["https://x.org/work/x", "../shared/home/x", "a/tmp/b", "/usr/bin/env", "${ROOT}/tmp/x"]
    assert all(hits(MACHINE_PATH, text) for text in bad)
    assert not any(hits(MACHINE_PATH, text) for text in good)
    bad = [
        "fixes issue 12",
        "Issue #3".lower(),
        "SPEC-14",
        "PR #7",
        "by a subagent",
        "helper B wrote",
    ]
    good = ["tickers 12", "a trading session", "Q-22", "the next session", "helper functions", "#1"]
    assert all(hits(ORGANISATION, text) for text in bad)
    assert not any(hits(ORGANISATION, text) for text in good)


def feature_rows(text: str) -> list[dict[str, str]]:
    """Rows of the table ``ID | what | where it lives | test | state``."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        identity = cells[0].strip("`*")
        if FEATURE_ID.match(identity):
            assert len(cells) == 5, (
                f"docs/features.md, row {identity}: five columns, not {len(cells)}"
            )
            names = ("id", "what", "where", "test", "state")
            rows.append(dict(zip(names, [identity, *cells[1:]], strict=True)))
    return rows


def used_markers(test_sources) -> dict[str, set[str]]:
    """Feature ID to the test files that carry its marker."""
    used: dict[str, set[str]] = {}
    for source in test_sources:
        for node in source.nodes:
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.feature":
                for argument in node.args:
                    assert isinstance(argument, ast.Constant), f"{source.name}: write the ID itself"
                    used.setdefault(argument.value, set()).add(source.name)
    return used


def feature_table(required_text) -> dict[str, dict[str, str]]:
    text = required_text(
        "docs/features.md", "a table with the columns ID | what | where it lives | test | state"
    )
    rows = feature_rows(text)
    assert rows, "docs/features.md has no row whose first column is an ID such as Q-22"
    identities = [row["id"] for row in rows]
    assert len(identities) == len(set(identities)), "an ID stands in one row of docs/features.md"
    return {row["id"]: row for row in rows}


def state(row: dict[str, str]) -> str:
    return row["state"].strip("`*").split()[0].lower() if row["state"] else ""


def test_every_built_feature_has_a_test_that_proves_it(required_text, test_sources, demand):
    features = feature_table(required_text)
    used = used_markers(test_sources)
    found = [f"{name}: {row['what']}" for name, row in features.items()
             if state(row) in BUILT and name not in used]  # fmt: skip
    demand(found, "Rows in state done or part need a test with @pytest.mark.feature(ID):")


def test_every_marker_has_a_row(required_text, test_sources, demand):
    features = feature_table(required_text)
    found = [
        f"{identity} in {', '.join(sorted(files))}"
        for identity, files in sorted(used_markers(test_sources).items())
        if identity not in features or state(features[identity]) not in BUILT
    ]
    demand(found, "Feature markers without a row in state done or part in docs/features.md:")


def test_the_tests_and_places_that_rows_name_exist(required_text, root, demand):
    features = feature_table(required_text)
    found = []
    for identity, row in features.items():
        if state(row) not in BUILT:
            continue
        for path in re.findall(
            r"(?:tests|quant_engine)/[\w./-]+", row["test"] + " " + row["where"]
        ):
            if not (root / path.rstrip(".")).exists():
                found.append(f"{identity}: {path}")
    demand(found, "docs/features.md names files that do not exist:")


def test_a_features_table_is_read_as_it_is_written(parse_text):
    text = (
        "| ID | what | where | test | state |\n|---|---|---|---|---|\n| X-1 | a | b | c | done |\n"
    )
    assert feature_rows(text) == [
        {"id": "X-1", "what": "a", "where": "b", "test": "c", "state": "done"}
    ]
    planted = parse_text('import pytest\npytestmark = [pytest.mark.feature("X-1", "X-02")]\n')
    assert used_markers([planted]) == {"X-1": {"planted.py"}, "X-02": {"planted.py"}}


def test_versions_agree(project, required_text):
    init = required_text("quant_engine/__init__.py", "it holds __version__")
    version = re.search(r'^__version__ = "([^"]+)"$', init, re.MULTILINE).group(1)
    assert project["project"].get("version", version) == version
    if "version" not in project["project"]:
        assert "version" in project["project"]["dynamic"]
        assert project["tool"]["hatch"]["version"]["path"] == "quant_engine/__init__.py"
    changelog = required_text("CHANGELOG.md", "its newest release is a heading ## [X.Y.Z] - DATE")
    released = re.findall(r"^## \[?(\d+\.\d+\.\d+[^\]\s]*)\]?", changelog, re.MULTILINE)
    assert released, "CHANGELOG.md has no heading ## [X.Y.Z]"
    assert released[0] == version, "the newest release in CHANGELOG.md"
    citation = required_text("CITATION.cff", "it holds version: X.Y.Z")
    cited = re.search(r"^version: [\"']?([^\s\"']+)", citation, re.MULTILINE)
    assert cited is not None, "CITATION.cff has no version"
    assert cited.group(1) == version, "the version in CITATION.cff"
