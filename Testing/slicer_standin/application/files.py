"""Reading and writing files through the nodes' own storage nodes."""

from __future__ import annotations

from pathlib import Path

import slicer

# The longest matching end decides, so longer ones come first.
FILE_TYPES = (
    (".seq.nrrd", "SequenceFile"),
    (".seq.nhdr", "SequenceFile"),
    (".seq.mrb", "SequenceFile"),
    (".seg.nrrd", "SegmentationFile"),
    (".mrk.json", "MarkupsFile"),
    (".nii.gz", "VolumeFile"),
    (".mrb", "SceneFile"),
    (".mrml", "SceneFile"),
    (".fcsv", "MarkupsFile"),
    (".csv", "TableFile"),
    (".tsv", "TableFile"),
    (".nrrd", "VolumeFile"),
    (".nhdr", "VolumeFile"),
    (".nii", "VolumeFile"),
    (".mha", "VolumeFile"),
    (".vtk", "ModelFile"),
    (".vtp", "ModelFile"),
    (".stl", "ModelFile"),
    (".txt", "TextFile"),
)
WRITER_TYPES = (
    ("vtkMRMLSequenceNode", "SequenceFile"),
    ("vtkMRMLSegmentationNode", "SegmentationFile"),
    ("vtkMRMLMarkupsNode", "MarkupsFile"),
    ("vtkMRMLTableNode", "TableFile"),
    ("vtkMRMLVolumeNode", "VolumeFile"),
    ("vtkMRMLModelNode", "ModelFile"),
    ("vtkMRMLTextNode", "TextFile"),
)
UNKNOWN = "NoFile"


def type_of_file(path: str) -> str:
    """The file type by which a file would be read."""
    name = str(path).lower()
    return next((kind for end, kind in FILE_TYPES if name.endswith(end)), UNKNOWN)


def type_of_node(node) -> str:
    """The file type by which a node would be written."""
    return next((kind for class_name, kind in WRITER_TYPES if node.IsA(class_name)), UNKNOWN)


def load_scene(path: str, clear: bool) -> bool:
    """Read a .mrb or .mrml file into the scene."""
    scene = slicer.mrmlScene
    scene.SetURL(path)
    if path.lower().endswith(".mrb"):
        return bool(scene.ReadFromMRB(path, clear))
    return bool(scene.Connect() if clear else scene.Import())


def load_node(kind: str, path: str, properties: dict):
    """Read one node; None if it cannot be read."""
    logic = {name: getattr(slicer.modules, name).logic() for name in ("volumes", "sequences", "segmentations")}
    name = properties.get("name", Path(path).name.split(".")[0])
    if kind == "VolumeFile":
        return logic["volumes"].AddArchetypeVolume(path, name, int(bool(properties.get("labelmap"))))
    if kind == "SequenceFile":
        return _shown_sequence(logic["sequences"], logic["sequences"].AddSequence(path), properties)
    if kind == "SegmentationFile":
        return logic["segmentations"].LoadSegmentationFromFile(path, True)
    if kind == "MarkupsFile":
        node_id = slicer.modules.markups.logic().LoadMarkups(path, "")
        return slicer.mrmlScene.GetNodeByID(node_id) if node_id else None
    if kind == "TableFile":
        return slicer.modules.tables.logic().AddTable(path)
    if kind == "ModelFile":
        return slicer.modules.models.logic().AddModel(path)
    return None


def _shown_sequence(logic, sequence, properties: dict):
    """The reader of sequences also makes a browser, and the node that shows the first frame."""
    if sequence is None or not properties.get("show", True):
        return sequence
    name = properties.get("name") or sequence.GetName()
    sequence.SetName(name)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"{name} browser")
    browser.AddSynchronizedSequenceNode(sequence)
    logic.UpdateProxyNodesFromSequences(browser)
    return sequence


def save_scene(path: str, application_logic) -> bool:
    """Write the scene as .mrb, as .mrml or into a folder."""
    scene = slicer.mrmlScene
    if path.lower().endswith(".mrb"):
        return bool(scene.WriteToMRB(path))
    if path.lower().endswith(".mrml"):
        scene.SetURL(path)
        scene.SetRootDirectory(str(Path(path).parent))
        return bool(scene.Commit())
    return bool(application_logic.SaveSceneToSlicerDataBundleDirectory(path, None))


def _storage_node_for(node, path: str):
    """The node's storage node, of the class that fits the file name."""
    wanted = node.GetDefaultStorageNodeClassName(path)
    storage = node.GetStorageNode()
    if storage is None or storage.GetClassName() != wanted:
        storage = slicer.mrmlScene.AddNewNodeByClass(wanted)
        node.SetAndObserveStorageNodeID(storage.GetID())
    return storage


def save_node(node, path: str, compressed: bool) -> bool:
    """Write one node."""
    storage = _storage_node_for(node, path)
    storage.SetFileName(path)
    storage.SetUseCompression(int(compressed))
    return bool(storage.WriteData(node))
