from __future__ import annotations

from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .Problem import CardioDiTProblem


class OrientedLabels:
    """Labels of one frame, from an array into a labelmap and back, on one grid.

    Args:
        affine: 4 x 4, (x, y, z) index to mm in RAS.
        shape: (Z, Y, X).
    """

    def __init__(self, affine: Any, shape: tuple[int, ...]) -> None:
        self.shape = tuple(int(size) for size in shape)
        self._matrix = vtk.vtkMatrix4x4()
        for row in range(4):
            for column in range(4):
                self._matrix.SetElement(row, column, float(affine[row][column]))
        self._reference = self._emptyImage()
        self._resampled: tuple[Any, Any] | None = None

    def image(self, array: Any) -> Any:
        """A labelmap with the values of an array (Z, Y, X)."""
        import numpy as np

        image = self._emptyImage()
        self._values(image)[:] = np.asarray(array, np.uint8)
        image.Modified()
        return image

    def addTo(self, array: Any, label: int, segment: Any) -> None:
        """Write a label where a segment is, over what is there.

        Args:
            array: (Z, Y, X), changed in place.
            label: The value to write.
            segment: Its labelmap may have another extent or grid.

        Raises:
            CardioDiTProblem: The segment has no labelmap.
        """
        representation = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
        image = segment.GetRepresentation(representation)
        if image is None:
            raise CardioDiTProblem(
                _("The segment '{name}' has no binary labelmap.").format(name=segment.GetName()),
                _("Create that representation in the module Segmentations."),
            )
        if 0 in image.GetDimensions() or image.GetPointData().GetScalars() is None:  # an empty segment
            return
        array[self._onGrid(image) == segment.GetLabelValue()] = label

    def _onGrid(self, image: Any) -> Any:
        # segments that share a labelmap come one after the other
        if self._resampled is None or self._resampled[0] is not image:
            result = slicer.vtkOrientedImageData()
            slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
                image, self._reference, result, False, False
            )
            self._resampled = (image, result)
        return self._values(self._resampled[1])

    def _emptyImage(self) -> Any:
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(*self.shape[::-1])
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image.GetPointData().GetScalars().Fill(0)
        image.SetImageToWorldMatrix(self._matrix)
        return image

    @staticmethod
    def _values(image: Any) -> Any:
        from vtk.util import numpy_support

        return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
