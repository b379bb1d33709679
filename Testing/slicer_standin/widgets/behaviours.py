"""The register of behaviours: what stand-ins of particular classes do.

A behaviour is a plain class, named like the real one with an underscore in front. Its public methods become methods of
the stand-in. `_init` builds the widget, `_on_<property>` runs when a property is written, `_get_<property>` replaces
the stored value. `self._values` holds the properties' values.
"""

from __future__ import annotations

REGISTER: dict[str, type] = {}


def behaviour(kind: type) -> type:
    """Class decorator: register the behaviour of the class that it is named after."""
    REGISTER[kind.__name__.lstrip("_")] = kind
    return kind


def load_all() -> dict[str, type]:
    """Import all modules with behaviours."""
    from slicer_standin.application import behaviours as _application  # noqa: F401
    from slicer_standin.application import scripted_module  # noqa: F401
    from slicer_standin.widgets import (  # noqa: F401
        ctk_colours,
        ctk_containers,
        ctk_numbers,
        ctk_paths,
        mrml_node_combo_box,
        mrml_plot_view,
        mrml_sequence,
        mrml_table_view,
        mrml_widgets,
    )

    return REGISTER
