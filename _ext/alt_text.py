"""Warn about an image without an alt text or a caption; the build treats warnings as errors."""

from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)


def check_images(app, doctree):
    for image in doctree.findall(nodes.image):
        alt = image.get("alt", "").strip()
        if not alt or alt == image.get("uri"):
            logger.warning("an image has no alt text", location=image, type="alt_text")
        figure = image.parent
        while figure is not None and not isinstance(figure, nodes.figure):
            figure = figure.parent
        if figure is None or not any(isinstance(part, nodes.caption) for part in figure.children):
            logger.warning("an image has no caption", location=image, type="alt_text")


def setup(app):
    app.connect("doctree-read", check_images)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
