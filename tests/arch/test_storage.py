"""Storage: who may touch a file, and in which formats."""

import ast

import pytest

pytestmark = pytest.mark.arch

# Packages whose work is storing, and single functions elsewhere with the reason.
STORING = ("artifacts", "data", "governance", "kalshi", "reports")
ALLOWED = {
    "quant_engine/core/executor.py: np.save": "shared arrays of a pool, in a temporary folder",
    "quant_engine/core/executor.py: np.load": "the workers' side of the same arrays",
    "quant_engine/models/ridge.py: np.savez": "to bytes in memory",
    "quant_engine/models/ridge.py: np.load": "from bytes in memory",
}
FRAME_CALLS = {
    f"{verb}_{form}"
    for verb in ("to", "read")
    for form in ("parquet", "csv", "feather", "excel", "hdf", "sql", "orc", "stata", "pickle")
}
OTHER_CALLS = {"write_text", "write_bytes", "write_table", "read_table", "savetxt", "loadtxt"}
NUMPY_CALLS = {"save", "savez", "savez_compressed", "load", "memmap", "fromfile"}
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def name_of(call: ast.Call) -> str:
    parts = []
    node = call.func
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        parts.append(node.id)
    return ".".join(reversed(parts))


def writes(call: ast.Call) -> bool:
    """True for open(...) and path.open(...) with a mode that can write."""
    if name_of(call).split(".")[-1] != "open":
        return False
    position = 1 if isinstance(call.func, ast.Name) else 0
    modes = [k.value for k in call.keywords if k.arg == "mode"] + call.args[position : position + 1]
    texts = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
    return any(isinstance(text, str) and set(text) & set("wax+") for text in texts)


def names_a_target(call: ast.Call) -> bool:
    """False for frame.to_csv(), which returns a text instead of writing a file."""
    return any(keyword.arg in (None, "path", "path_or_buf", "buf") for keyword in call.keywords)


def storage_calls(source) -> list[tuple[int, str]]:
    found = []
    for node in source.nodes:
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node)
        last = name.split(".")[-1]
        if last.startswith("to_") and not node.args and not names_a_target(node):
            continue
        if last in FRAME_CALLS | OTHER_CALLS or writes(node):
            found.append((node.lineno, last))
        elif name.startswith(("np.", "numpy.")) and last in NUMPY_CALLS:
            found.append((node.lineno, f"np.{last}"))
    return found


def test_files_are_touched_by_the_packages_that_store(sources, demand):
    used, found = set(), []
    for source in sources:
        if source.package in STORING:
            continue
        for line, call in storage_calls(source):
            key = f"{source.name}: {call}"
            used.add(key)
            if key not in ALLOWED:
                found.append(f"{source.name}:{line} calls {call}")
    demand(
        found,
        "Files are read and written in artifacts, data and reports; workflows export through "
        "artifacts.files. An exception needs a reason in this test.",
    )
    demand(sorted(set(ALLOWED) - used), "Exceptions that nothing needs any more:")


def test_nothing_imports_pickle(sources, test_sources, demand):
    found = []
    for source in [*sources, *test_sources]:
        for node in source.nodes:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            found += [
                f"{source.name}:{node.lineno} imports {name}"
                for name in names
                if name.split(".")[0] in UNSAFE
            ]
    demand(found, "No pickle in any file: LightGBM text, npz, JSON, Parquet.")


def test_numpy_never_reads_or_writes_objects(sources, demand):
    found = []
    for source in sources:
        for node in source.nodes:
            if not isinstance(node, ast.Call) or name_of(node) not in ("np.load", "np.save"):
                continue
            flags = [k.value for k in node.keywords if k.arg == "allow_pickle"]
            if not any(isinstance(f, ast.Constant) and f.value is False for f in flags):
                found.append(
                    f"{source.name}:{node.lineno} {name_of(node)} without allow_pickle=False"
                )
    demand(found, "np.load and np.save say allow_pickle=False.")


PLANTED = """
frame.to_csv("x.csv")
frame.to_csv(path_or_buf=name)
frame.to_csv(index=False)
pd.read_parquet(path)
pq.write_table(table, path)
np.save(path, array)
np.load(path)
torch.load(path)
open(path, "w")
open(path, mode="ab")
open(path)
path.open("rb")
path.open("r+")
path.write_text(text)
zipfile.open(name, "r")
"""


def test_the_rule_sees_what_it_should(parse_text):
    found = [line for line, _ in storage_calls(parse_text(PLANTED))]
    lines = PLANTED.splitlines()
    assert [lines[line - 1] for line in found] == [
        'frame.to_csv("x.csv")',
        "frame.to_csv(path_or_buf=name)",
        "pd.read_parquet(path)",
        "pq.write_table(table, path)",
        "np.save(path, array)",
        "np.load(path)",
        'open(path, "w")',
        'open(path, mode="ab")',
        'path.open("r+")',
        "path.write_text(text)",
    ]
