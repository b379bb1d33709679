"""Runs under a Python that has Slicer's MRML libraries: reads and writes sequence files with Slicer's own storage node.

Usage: ``python slicer_sequence_driver.py read IN.seq.nrrd OUT.npz write IN.npz OUT.seq.nrrd ...``, any number of jobs.
The npz holds ``voxels`` (T, Z, Y, X), ``ijk_to_ras`` (4, 4), ``index`` (T, text), ``names`` (index name, unit, type),
``node`` (class of the first frame) and ``meta`` (text of the provenance attribute). Not a test by itself.
"""

from __future__ import annotations

import sys

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

META = "CardioDiT.meta"


def read(scene: slicer.vtkMRMLScene, source: str, destination: str) -> None:
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeSequenceStorageNode")
    storage.SetFileName(source)
    if not storage.ReadData(sequence):
        sys.exit(f"Slicer could not read {source}")
    frames = []
    matrices = []
    for number in range(sequence.GetNumberOfDataNodes()):
        node = sequence.GetNthDataNode(number)
        image = node.GetImageData()
        frames.append(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]))
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        matrices.append([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    if not all(matrix == matrices[0] for matrix in matrices):
        sys.exit(f"the frames of {source} have different geometry")
    np.savez(
        destination,
        voxels=np.stack(frames),
        ijk_to_ras=np.array(matrices[0]),
        index=[sequence.GetNthIndexValue(number) for number in range(len(frames))],
        names=[sequence.GetIndexName(), sequence.GetIndexUnit(), sequence.GetIndexTypeAsString()],
        node=sequence.GetNthDataNode(0).GetClassName(),
        meta=sequence.GetAttribute(META) or "",
    )


def write(scene: slicer.vtkMRMLScene, source: str, destination: str) -> None:
    content = np.load(source)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode")
    sequence.SetIndexName(str(content["names"][0]))
    sequence.SetIndexUnit(str(content["names"][1]))
    sequence.SetIndexTypeFromString(str(content["names"][2]))
    sequence.SetAttribute(META, str(content["meta"]))
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, content["ijk_to_ras"][row, column])
    for voxels, value in zip(content["voxels"], content["index"]):
        image = vtk.vtkImageData()
        image.SetDimensions(voxels.shape[::-1])
        image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))
        node = getattr(slicer, str(content["node"]))()
        node.SetAndObserveImageData(image)
        node.SetIJKToRASMatrix(matrix)
        sequence.SetDataNodeAtValue(node, str(value))
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeSequenceStorageNode")
    storage.SetFileName(destination)
    if not storage.WriteData(sequence):
        sys.exit(f"Slicer could not write {destination}")


if __name__ == "__main__":
    words = iter(sys.argv[1:])
    for action in words:
        {"read": read, "write": write}[action](slicer.vtkMRMLScene(), next(words), next(words))
