"""The notebooks run from top to bottom, draw images, and are kept without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
IMAGES = {"quick_start": 3, "data_checks": 3, "results": 2}  # at least so many


def test_all_are_known_and_hold_no_outputs():
    found = {p.stem: nbformat.read(p, as_version=4) for p in NOTEBOOKS.glob("*.ipynb")}
    assert found.keys() == IMAGES.keys()
    for name, book in found.items():
        nbformat.validate(book)
        for cell in book.cells:
            if cell.cell_type == "code":
                assert cell.outputs == [] and cell.execution_count is None, f"strip the outputs of {name}"


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
def test_notebook_runs(name, tmp_path, monkeypatch):
    """In its own folder, as people open it; a copy, so that nothing is written beside it."""
    monkeypatch.delenv("GENTG_MOTION", raising=False)  # what runs anywhere is what is tested
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}
    ).execute()
    outputs = [o for cell in book.cells if cell.cell_type == "code" for o in cell.outputs]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= IMAGES[name]
