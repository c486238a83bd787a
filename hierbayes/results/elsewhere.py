"""What to say when one kind of fit is asked for what belongs to the other."""

from __future__ import annotations

from collections.abc import Mapping

GAUSSIAN = "{call} needs a Gaussian response with identity link"
POSTERIOR = "{name} belongs to a posterior: model.fit().{call}"
REML = "{name} belongs to the REML fit: fit.reml.{call}"
ML = "{name} belongs to the maximum likelihood fit: model.ml().{call}"


def refuse(asked: object, name: str, places: Mapping[type, str]) -> object:
    """Raise the `AttributeError` of a name that a fit does not have, and say where it is.

    Called from ``__getattr__``, so only for names that were not found.

    Parameters
    ----------
    asked : object
    name : str
    places : mapping of type to str
        Other kinds of fits, and where to find it in the first of them that has it (or why it is not to be had), with
        ``{name}`` for the name and ``{call}`` for the name and its parentheses.

    Raises
    ------
    AttributeError

    Examples
    --------
    >>> refuse(1, "keys", {dict: "{name} belong to dictionaries: d.{call}"})
    Traceback (most recent call last):
    AttributeError: 'int' object has no attribute 'keys'; keys belong to dictionaries: d.keys()
    """
    kind = type(asked)
    if hasattr(kind, name):  # a property that failed with an AttributeError of its own
        return object.__getattribute__(asked, name)
    text = f"{kind.__name__!r} object has no attribute {name!r}"
    for other, where in places.items():
        if not name.startswith("_") and (hasattr(other, name) or name in getattr(other, "__dataclass_fields__", {})):
            call = f"{name}()" if callable(getattr(other, name, None)) else name
            text += f"; {where.format(name=name, call=call)}"
            break
    raise AttributeError(text, name=name, obj=asked)
