"""Have nbval compare numbers as numbers: within the tolerances that are stored with each cell.

Under another ``MIXBOOK_SEED`` nothing is compared: there the claims hold alone.
"""

from nbval.plugin import IPyNbCell

from mixbook.compare import WITHIN, differences
from mixbook.seeds import shift


def compare_outputs(self, test, ref, skip_compare=None) -> bool:
    """Compare what a cell shows with what is stored; note each difference in a line."""
    self.comparison_traceback = []
    if shift():
        return True
    chapter = self.parent.path.name
    for difference in differences(ref, test, self.cell.metadata.get(WITHIN, {})):
        self.comparison_traceback.append(f"\n{chapter}, {difference}")
    if self.comparison_traceback:
        self.comparison_traceback.append(
            f"\n\nIf the change is meant: make execute CHAPTERS=chapters/{chapter}; if only the "
            f"samplers' luck differs: make tolerances CHAPTERS={self.parent.path.stem}\n"
        )
    return not self.comparison_traceback


IPyNbCell.compare_outputs = compare_outputs
