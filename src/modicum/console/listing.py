"""Lists of methods and backbones."""

from rich.table import Table

from modicum.errors import InputError
from modicum.methods import method_class, method_entries


def methods_table() -> Table:
    """The methods with what they are for and what they serve."""
    table = Table("method", "what it does", "tasks", box=None, pad_edge=False, header_style="bold")
    for name in sorted(method_entries()):
        method = method_class(name)
        source = f" [dim]({method.source})[/dim]" if method.source else ""
        table.add_row(f"[bold]{name}[/bold]", method.summary + source, ", ".join(method.tasks))
    return table


def backbone_names(pattern: str) -> list[str]:
    """Names of timm models that match a shell pattern, with their weights' tags where there are some."""
    import timm

    found = timm.list_models(pattern) or timm.list_pretrained(pattern)
    if not found:
        raise InputError(f"no backbone matches '{pattern}'", "try for instance 'resnet*' or 'vit_base*'")
    return list(found)
