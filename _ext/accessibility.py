"""Repair what the theme leaves inaccessible, in the finished HTML of each page."""

import re


def repair(app, pagename, templatename, context, doctree):
    body = context.get("body")
    if not body:
        return
    # The role doc-biblioentry is deprecated, and a list wants items.
    body = body.replace('role="doc-biblioentry"', 'role="listitem"')
    # What scrolls sideways on a phone must be reachable from the keyboard.
    for name in ("table-wrap", "pst-scrollable-table-container"):
        body = body.replace(f'<div class="{name}">', f'<div class="{name}" tabindex="0">')
    # A summary's visible words are its name.
    body = re.sub(r'(<summary[^>]*?) aria-label="[^"]*"', r"\1", body)
    # Exercises and solutions repeat the id of their section.
    seen = set()

    def first_only(match):
        if match.group(1) in seen:
            return ""
        seen.add(match.group(1))
        return match.group(0)

    context["body"] = re.sub(r' id="([^"]+)"', first_only, body)


def setup(app):
    app.connect("html-page-context", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
