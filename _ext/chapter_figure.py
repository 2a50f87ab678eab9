"""Show a chapter's figure on another page: its stored picture and alt text, under a new caption.

::

    ```{chapter-figure} 02_log_density fig-02-dataset
    The caption.
    ```
"""

import base64
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from mixbook.mutants import code_cells


class ChapterFigure(SphinxDirective):
    """A figure node with the picture of a cell; its arguments are the chapter and the name."""

    required_arguments = 2
    has_content = True

    def run(self):
        chapter, name = self.arguments
        self.env.note_dependency(str(Path(self.env.srcdir) / "chapters" / f"{chapter}.ipynb"))
        cells = [
            cell
            for cell in code_cells(chapter)
            if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name
        ]
        if len(cells) != 1:
            raise self.error(f"{chapter} has {len(cells)} figures of the name {name}.")
        picture = next(
            output.data["image/png"]
            for output in cells[0].outputs
            if "image/png" in output.get("data", {})
        )
        target = Path(self.env.srcdir) / "_build" / "figures" / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(picture))
        alt = cells[0].metadata["mystnb"]["image"]["alt"]
        figure = nodes.figure("", nodes.image(uri=f"/_build/figures/{name}.png", alt=alt))
        text, _ = self.state.inline_text(" ".join(self.content), self.lineno)
        figure += nodes.caption("", "", *text)
        return [figure]


def setup(app):
    app.add_directive("chapter-figure", ChapterFigure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
