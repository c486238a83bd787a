"""What to say when one kind of fit is asked for what belongs to the other."""

from __future__ import annotations


def refuse(asked: object, name: str, other: type, where: str) -> object:
    """Raise the `AttributeError` of a name that a fit does not have, and say where it is.

    Called from ``__getattr__``, so only for names that were not found.

    Parameters
    ----------
    asked : object
    name : str
    other : type
        The other kind of fit.
    where : str
        Where to find it there, with ``{call}`` for the name and its parentheses.

    Raises
    ------
    AttributeError

    Examples
    --------
    >>> refuse(1, "keys", dict, "keys belong to dictionaries: d.{call}")
    Traceback (most recent call last):
    AttributeError: 'int' object has no attribute 'keys'; keys belong to dictionaries: d.keys()
    """
    kind = type(asked)
    if hasattr(kind, name):  # a property that failed with an AttributeError of its own
        return object.__getattribute__(asked, name)
    text = f"{kind.__name__!r} object has no attribute {name!r}"
    known = not name.startswith("_") and (hasattr(other, name) or name in getattr(other, "__dataclass_fields__", {}))
    if known:
        call = f"{name}()" if callable(getattr(other, name, None)) else name
        text += f"; {where.format(call=call)}"
    raise AttributeError(text, name=name, obj=asked)
