"""What all HTML pages share: how their templates are read, and their style."""

from importlib.resources import files
from typing import Any

from markupsafe import Markup


def templates(package: str = "modicum.report") -> Any:
    """The environment of a package's ``templates``: everything escaped, a value that is missing is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style(name: str = "report.css") -> Markup:
    """A style sheet of the reports, to stand in a page."""
    return Markup(files("modicum.report").joinpath(f"templates/{name}").read_text(encoding="utf-8"))
