"""Modules of Slicer and its extensions that may be missing: small ones that record what they were asked for."""

from __future__ import annotations

import inspect
import sys
import types
from dataclasses import dataclass, field

from slicer_standin import facts


@dataclass
class Records:
    """What the code under test asked for."""

    categories: list[dict] = field(default_factory=list)
    sources: list[dict] = field(default_factory=list)
    installed: list[dict] = field(default_factory=list)
    torch_requests: list[dict] = field(default_factory=list)
    torch_present: bool = False
    missing_requirements: set[str] = field(default_factory=set)


def _sample_data(records: Records) -> types.ModuleType:
    class SampleDataLogic:
        """Registers sample data; downloads nothing."""

        @staticmethod
        def registerCustomSampleDataCategory(category, title=None):
            records.categories.append({"category": category, "title": title})

        @staticmethod
        def registerCustomSampleDataSource(
            category="Custom",
            sampleName=None,
            uris=None,
            fileNames=None,
            nodeNames=None,
            customDownloader=None,
            thumbnailFileName=None,
            loadFileTypes=None,
            loadFiles=None,
            loadFileProperties=None,
            checksums=None,
        ):
            source = dict(locals())
            source.pop("records", None)
            records.sources.append(source)

    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    return module


def _torch_utils(records: Records) -> types.ModuleType:
    class PyTorchUtilsLogic:
        """Installs nothing: after a request, torch counts as present."""

        @staticmethod
        def torchInstalled():
            return records.torch_present

        def installTorch(
            self,
            askConfirmation=False,
            forceComputationBackend=None,
            torchVersionRequirement=None,
            torchvisionVersionRequirement=None,
        ):
            request = dict(locals())
            for name in ("self", "records"):
                request.pop(name, None)
            records.torch_requests.append(request)
            records.torch_present = True
            return types.SimpleNamespace(__version__="0.0")

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    return module


def _recording(name: str, declaration: str, records: Records):
    """A function with the parameters of the real one, which records its arguments."""
    namespace: dict = {}
    plain = inspect.cleandoc(f"from __future__ import annotations\ndef {name}{declaration}:\n    return dict(locals())")
    exec(plain, namespace)  # the declaration is text in the facts: Python checks the arguments against it

    def call(*arguments, **named):
        records.installed.append({"function": name} | namespace[name](*arguments, **named))

    return call


def _packaging(records: Records) -> types.ModuleType:
    module = types.ModuleType("slicer.packaging")
    declarations = facts.load()["python"]["slicer.packaging"]
    for name in ("pip_ensure", "pip_install", "pip_uninstall"):
        setattr(module, name, _recording(name, declarations[name], records))

    def pip_check(req, _seen=None):
        return not records.missing_requirements.intersection(req if isinstance(req, list) else [req])

    def load_requirements(path):
        with open(path, encoding="utf-8") as file:
            lines = [line.split("#")[0].strip() for line in file]
        return [line for line in lines if line and not line.startswith("-")]

    module.pip_check = pip_check
    module.load_requirements = load_requirements
    module.isPipInstallInProgress = lambda: False
    return module


def put_in_place(monkeypatch, sample_data=True, torch_utils=True, packaging=True) -> Records:
    """Add the chosen modules until the end of the test (pytest's monkeypatch); returns what they will be asked for."""
    import slicer

    records = Records()
    if sample_data:
        monkeypatch.setitem(sys.modules, "SampleData", _sample_data(records))
    if torch_utils:
        monkeypatch.setitem(sys.modules, "PyTorchUtils", _torch_utils(records))
    if packaging:
        module = _packaging(records)
        monkeypatch.setitem(sys.modules, "slicer.packaging", module)
        monkeypatch.setattr(slicer, "packaging", module, raising=False)
    return records
