"""Imports point only downwards, nothing heavy loads for a help text, every module stands alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import click
import pytest

import lgs_cli
from lgs_cli.cli import commands

PACKAGE = Path(lgs_cli.__file__).parent

# From the ground up. A module imports modules of lower layers, and of its own without a circle.
LAYERS = [
    ["lgs_cli"],
    ["errors", "formats", "lazy", "params", "signals", "wording"],
    ["defenses.defense"],
    ["defenses.*"],
    ["defenses"],
    ["defenses.chain"],
    ["storage", "visualize"],
    ["storage.missing", "storage.scratch", "storage.spool"],
    ["storage.inputs"],
    ["storage.archives"],
    ["storage.archives.archive"],
    ["storage.archives.tar", "storage.archives.parquet"],
    ["storage.archives.opening"],
    ["storage.stores"],
    ["storage.stores.store"],
    ["storage.stores.listing"],
    ["image_io.picture", "image_io.magic", "image_io.channels"],
    ["image_io.boxes", "image_io.limits", "image_io.png_samples", "image_io.source"],
    ["image_io.tiff_tags"],
    ["image_io.metadata"],
    ["image_io.pillow", "image_io.codec", "image_io.opencv"],
    ["image_io.tiff_strips"],
    ["image_io.formats"],
    ["image_io.formats.*"],
    ["image_io"],
    ["batch"],
    ["batch.job"],
    ["batch.pipeline"],
    ["batch.scan", "batch.worker"],
    [
        "batch.arrivals",
        "batch.entry",
        "batch.forkserver",
        "batch.index",
        "batch.outputs",
        "batch.path_table",
        "batch.quarantine",
        "batch.record_file",
        "batch.sources",
    ],
    ["batch.early", "batch.guard", "batch.volumes"],
    ["batch.manifest"],
    ["batch.in_place", "batch.single"],
    ["batch.workers"],
    ["batch.backend"],
    ["batch.pool", "batch.shards", "batch.chunks", "batch.orphans"],
    ["batch.cluster"],
    ["batch.engines"],
    ["batch.remote_lines"],
    ["batch.run", "batch.remote", "batch.unpacking"],
    ["batch.member_index", "batch.remote_inputs"],
    ["batch.archives"],
    ["adapters"],
    ["adapters.kinds", "adapters.smoothing"],
    ["adapters.images"],
    ["adapters.folders"],
    ["evaluation"],
    ["evaluation.classes", "evaluation.progress", "evaluation.table"],
    ["evaluation.dataset", "evaluation.models.model"],
    ["evaluation.models.*"],
    ["evaluation.models"],
    ["evaluation.bpda", "evaluation.detector", "evaluation.detector.*"],
    ["evaluation.double_masking", "evaluation.localized", "evaluation.twins"],
    ["evaluation.victim"],
    ["evaluation.attacks.*"],
    ["evaluation.attacks"],
    ["evaluation.specs"],
    ["evaluation.*"],
    ["adapters.*"],
    ["report"],
    ["report.records", "report.summary"],
    ["report.*"],
    ["commands"],
    ["commands.group", "commands.sections", "commands.defense_options"],
    ["commands.meter", "commands.throughput"],
    ["commands.model_options", "commands.progress"],
    ["commands.configuration"],
    ["commands.mistakes"],
    ["commands.run_options", "commands.run_inputs", "commands.report_file", "commands.destination"],
    ["commands.cleaning"],
    ["commands.watching", "commands.archiving", "commands.remote"],
    ["commands.*"],
    ["cli"],
    ["__main__"],
]
HEAVY = {
    "PIL", "cv2", "dask", "distributed", "fsspec", "joblib", "multiprocessing", "numpy", "pyarrow",
    "scipy", "torch", "tqdm",
}  # fmt: skip


def short_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "lgs_cli"


MODULES = {short_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def layer(module: str) -> int:
    heights = {name: height for height, names in enumerate(LAYERS) for name in names}
    height = heights.get(module, heights.get(module.rpartition(".")[0] + ".*"))
    assert height is not None, f"{module} has no layer yet: give it one in LAYERS"
    return height


def imports(path: Path) -> list[tuple[str, bool, bool]]:
    """Give (module, whether at module level, whether for types only) of each import of a file."""
    found = []

    def visit(node: ast.AST, top: bool, typing: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, top, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            of_ours = [name for name in names if name.removeprefix("lgs_cli.") in MODULES]
            found.extend((name, top, typing) for name in of_ours)
            if len(of_ours) < len(names):
                found.append((node.module, top, typing))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            typing = True
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            top = False
        for child in ast.iter_child_nodes(node):
            visit(child, top, typing)

    visit(ast.parse(path.read_text()), True, False)
    return found


def ours(path: Path, *, with_types: bool = True) -> set[str]:
    return {
        name.removeprefix("lgs_cli.")
        for name, _, typing in imports(path)
        if name.split(".")[0] == "lgs_cli" and (with_types or not typing)
    }


def test_the_walk_sees_every_kind_of_import(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "from lgs_cli import __version__, batch\n"
        "from lgs_cli.defenses.lgs import apply\n"
        "if TYPE_CHECKING:\n    import torch.nn\n"
        "class A:\n    def f(self):\n        from joblib import Parallel\n"
        "try:\n    import cv2\nexcept ImportError:\n    pass\n"
    )
    assert sorted(imports(path)) == [
        ("cv2", True, False),
        ("joblib", False, False),
        ("lgs_cli", True, False),
        ("lgs_cli.batch", True, False),
        ("lgs_cli.defenses.lgs", True, False),
        ("torch.nn", True, True),
    ]
    assert ours(path) == {"lgs_cli", "batch", "defenses.lgs"}


def test_the_package_itself_loads_nothing_of_it():
    at_once = [name for name, top, typing in imports(MODULES["lgs_cli"]) if top and not typing]
    assert not [name for name in at_once if name.startswith("lgs_cli")]


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"lgs_cli"}))
def test_imports_point_downwards(module):
    for imported in ours(MODULES[module]):
        assert layer(imported) <= layer(module), f"{module} imports {imported}, which lies above it"


def test_there_is_no_circle():
    TopologicalSorter(
        {module: ours(path, with_types=False) for module, path in MODULES.items()}
    ).prepare()


# What the options of the evaluation's commands are made from; it loads nothing heavy.
OF_OPTIONS = {
    f"lgs_cli.evaluation.{name}"
    for name in (
        "attacks",
        "attacks.attack",
        "detector.params",
        "evaluate",
        "grid_search",
        "kept",
        "models.reference",
        "models.torch_model",
        "progress",
        "specs",
        "table",
        "victim",
    )
}


@pytest.mark.parametrize("module", MODULES)
def test_only_commands_import_the_evaluation(module):
    for imported, top, typing in imports(MODULES[module]):
        if imported.startswith("lgs_cli.evaluation") and not module.startswith("evaluation"):
            assert module.startswith(("commands.", "adapters.")), f"{module} imports {imported}"
            assert not top or typing or imported in OF_OPTIONS, (
                f"{module} imports {imported} too soon"
            )


@pytest.mark.parametrize("module", MODULES)
def test_torch_is_imported_in_the_evaluation_and_the_adapters_alone(module):
    of_torch = [
        name
        for name, _, typing in imports(MODULES[module])
        if name.split(".")[0] == "torch" and not typing
    ]
    assert not of_torch or module.startswith(("evaluation", "adapters."))


@pytest.mark.parametrize("module", MODULES)
def test_joblib_is_imported_in_one_place(module):
    of_joblib = [name for name, _, _ in imports(MODULES[module]) if name.split(".")[0] == "joblib"]
    assert not of_joblib or module in ("batch.pool", "batch.backend")


def loaded_by(script: str, *arguments: str) -> set[str]:
    """Run a script in a Python of its own, and name the modules that it loaded."""
    script += "\nprint('\\nLOADED', *sys.modules)"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True, text=True, check=True, cwd=PACKAGE.parent,
    )  # fmt: skip
    return {name.split(".")[0] for name in run.stdout.rpartition("LOADED")[2].split()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["clean", "x", "-o", "y", "-j0"],
        *([name, "--help"] for name in commands.list_commands(click.Context(commands))),
    ],
    ids=" ".join,
)
def test_help_and_typos_load_nothing_heavy(arguments):
    script = "import sys\nfrom lgs_cli.cli import run\nrun()\nassert 'click' in sys.modules"
    assert loaded_by(script, *arguments) & HEAVY == set()


# What an adapter is for, and so may load.
OF_ADAPTERS = {"adapters.torch": "torch", "adapters.smoothing": "torch", "adapters.art": "art"}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"__main__"}))
def test_every_module_can_be_imported_alone(module):
    name = "lgs_cli" if module == "lgs_cli" else f"lgs_cli.{module}"
    if module.startswith("evaluation.") and not _is_installed("torch"):
        pytest.skip("needs torch, of the extra 'eval'")
    if module in OF_ADAPTERS and not _is_installed(OF_ADAPTERS[module]):
        pytest.skip(f"needs {OF_ADAPTERS[module]}")
    loaded = loaded_by(f"import sys, {name}")
    if not module.startswith("evaluation") and module not in OF_ADAPTERS:
        assert "torch" not in loaded


def _is_installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def test_the_top_of_the_package_has_few_rooms():
    rooms = {name.partition(".")[0] for name in MODULES}
    assert len(rooms) <= 18, sorted(rooms)


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_signatures_are_short(module):
    text = MODULES[module].read_text()
    assert len(text.splitlines()) < 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and not _is_command(node):
            names = [a.arg for a in node.args.posonlyargs + node.args.args + node.args.kwonlyargs]
            count = len([name for name in names if name not in ("self", "cls")])
            assert count <= 6, f"{node.name} takes {count} parameters"


def _is_command(function: ast.FunctionDef) -> bool:
    return any("command" in ast.unparse(decorator) for decorator in function.decorator_list)
