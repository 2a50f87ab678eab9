"""An IPython shell in this process, which runs the cells of a chapter."""

import contextlib

import nbformat


class Outputs(list):
    """What a cell shows, in its order, in the form in which a notebook stores it."""

    def write(self, name: str, text: str) -> None:
        """Add text of a stream."""
        if self and self[-1].output_type == "stream" and self[-1].name == name:
            self[-1].text += text
        elif text:
            self.append(nbformat.v4.new_output("stream", name=name, text=text))

    def display(self, data: dict, metadata: dict | None = None, **_: object) -> None:
        """Add what `display` shows."""
        self.append(nbformat.v4.new_output("display_data", data, metadata=metadata or {}))


class Stream:
    """A text stream that writes into the outputs of the cell that runs."""

    encoding, errors = "utf-8", "strict"

    def __init__(self, name: str, kernel: "Kernel"):
        self.name, self.kernel = name, kernel

    def write(self, text: str) -> int:
        """Add text to the outputs."""
        self.kernel.outputs.write(self.name, text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def isatty(self) -> bool:
        """Tell that this is no terminal."""
        return False


class Kernel:
    """An IPython shell in this process, so that it can be forked with all that it holds."""

    def __init__(self) -> None:
        import matplotlib as mpl
        from IPython.core.interactiveshell import InteractiveShell
        from matplotlib_inline.backend_inline import configure_inline_support
        from traitlets.config import Config

        self.outputs = Outputs()
        quiet = Config({"HistoryManager": {"enabled": False}})  # its thread would not be forked
        self.shell = InteractiveShell.instance(config=quiet)
        self.shell.history_manager.enabled = False  # where another made the instance
        self.shell.display_pub.publish = lambda *args, **keys: self.outputs.display(*args, **keys)
        self.shell.showtraceback = self.shell.showsyntaxerror = lambda *args, **keys: None
        mpl.use("module://matplotlib_inline.backend_inline")
        configure_inline_support(self.shell, mpl.get_backend())

    def run(self, source: str) -> tuple[Outputs, BaseException | None]:
        """Run a cell; return its outputs, and the exception that it raised, if any."""
        self.outputs = Outputs()
        with (
            contextlib.redirect_stdout(Stream("stdout", self)),
            contextlib.redirect_stderr(Stream("stderr", self)),
        ):
            result = self.shell.run_cell(source, store_history=True)
        return self.outputs, result.error_before_exec or result.error_in_exec
