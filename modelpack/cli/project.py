"""Finds what a command works on: the service of a project, or the bundle that was built of it.

folder ──load_project──► Project ──service_of──► ServiceSpec
                            └──────bundle_for───► Entry of the store ──image_settings_of──► its image
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modelpack.errors import BundleNotFoundError, UsageError
from modelpack.tag import Tag

if TYPE_CHECKING:
    from modelpack.config.settings import ImageSettings, Project
    from modelpack.sdk.service import ServiceSpec
    from modelpack.store import Entry, Store


def service_of(project: Project, service: str | None = None) -> ServiceSpec:
    """Return the service of a project, importing it; raises what ``sdk.loading`` raises."""
    from modelpack.sdk.loading import find_service, load_import_string

    named = service or project.service
    return load_import_string(named, project.root) if named else find_service(project.root)


def bundle_for(tag: str | None, store: Store, *, folder: Path = Path()) -> Entry:
    """Return the bundle of a tag; without one, the last build of the project in the folder."""
    from modelpack.store import Kind

    if tag is not None:
        return store.find(Tag.parse(tag), Kind.BUNDLE)
    name = bundle_name(folder)
    try:
        return store.find(Tag(name), Kind.BUNDLE)
    except BundleNotFoundError as error:
        raise BundleNotFoundError(
            f"the project '{name}' has no bundle yet", hint="run 'modelpack build' first"
        ) from error


def image_settings_of(entry: Entry, store: Store) -> ImageSettings:
    """Return what the image of a bundle holds, the user's own file counted."""
    from modelpack.config.layers import bundle_layer, image_settings
    from modelpack.config.settings import ImageSettings, recorded_settings

    recorded = recorded_settings(ImageSettings, store.bundle_manifest(entry).settings)
    return image_settings(bundle_layer(recorded, entry.tag)).settings


def bundle_name(folder: Path) -> str:
    """Return the name under which the project in the folder is built."""
    from modelpack.config.load import load_project

    project = load_project(folder)
    if project.name:
        return project.name
    if project.source is None and not (project.root / "service.py").is_file():
        raise UsageError(
            "there is no project in this folder",
            hint="give the TAG of a bundle ('modelpack list' shows them), or go to the project",
        )
    return service_of(project).name
