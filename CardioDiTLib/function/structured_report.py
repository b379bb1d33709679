"""A function report as a DICOM structured report (TID 1500, Measurement Report), through highdicom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.files import atomic_path
from CardioDiTLib.function.function_report import FunctionReport
from CardioDiTLib.io.dicom_frames import frame_number
from CardioDiTLib.io.dicom_seg import completed, highdicom_or_hint
from CardioDiTLib.io.dicom_write import uid_of
from CardioDiTLib.version import __version__

_ML = Code("ml", "UCUM", "ml")
_PERCENT = Code("%", "UCUM", "%")
_G = Code("g", "UCUM", "g")
_MM = Code("mm", "UCUM", "mm")
_L_MIN = Code("l/min", "UCUM", "l/min")
_BPM = Code("{H.B.}/min", "UCUM", "beats per minute")
_LEFT = Code("87878005", "SCT", "Left ventricle")
_RIGHT = Code("53085002", "SCT", "Right ventricle")

# (site, label of the group, (field, name, unit) ...)
_GROUPS: tuple[tuple[Code, str, tuple[tuple[str, Code, Code], ...]], ...] = (
    (
        _LEFT,
        "Left ventricle",
        (
            ("edv_ml", Code("8821-1", "LN", "Left Ventricular ED Volume"), _ML),
            ("esv_ml", Code("8823-7", "LN", "Left Ventricular ES Volume"), _ML),
            ("sv_ml", Code("90096001", "SCT", "Stroke Volume"), _ML),
            ("ef_percent", Code("8811-2", "LN", "Left ventricular ejection fraction by MR"), _PERCENT),
            ("cardiac_output_l_min", Code("82799009", "SCT", "Cardiac Output"), _L_MIN),
            ("lv_mass_g", Code("18087-7", "LN", "Left Ventricle Mass"), _G),
            ("heart_rate_bpm", Code("8867-4", "LN", "Heart rate"), _BPM),
        ),
    ),
    (
        _RIGHT,
        "Right ventricle",
        (
            ("rv_edv_ml", Code("8822-9", "LN", "Right Ventricular ED Volume"), _ML),
            ("rv_esv_ml", Code("8824-5", "LN", "Right Ventricular ES Volume"), _ML),
            ("rv_sv_ml", Code("429483009", "SCT", "Right ventricular stroke volume"), _ML),
            ("rv_ef_percent", Code("8818-7", "LN", "Right ventricular ejection fraction by MR"), _PERCENT),
        ),
    ),
)


def has_numbers(report: FunctionReport) -> bool:
    """Whether anything was measured that a structured report would hold."""
    return any(math.isfinite(getattr(report, field)) for _, _, group in _GROUPS for field, _, _ in group)


def structured_report(
    report: FunctionReport, images: Sequence[Sequence[Dataset]], segmentation: Dataset | None = None
) -> Dataset:
    """A Comprehensive 3D SR object with the numbers of a report; what was not measured is left out.

    Args:
        report: What was measured.
        images: ``[z][t]``, headers of the images it was measured on, or of the frames of multi-frame ones.
        segmentation: The SEG object it was measured on.

    Returns:
        The object, marked as unverified.

    Raises:
        CardioDiTError: Nothing was measured, or highdicom is missing.
    """
    hd = highdicom_or_hint()
    sr = hd.sr
    # each instance once: frames of a multi-frame image share theirs
    instances = {str(image.SOPInstanceUID): image for frames in images for image in frames}
    sources = [completed(image) for image in instances.values()]
    groups = []
    for site, name, quantities in _GROUPS:
        measurements = [
            sr.Measurement(name=code, value=float(f"{getattr(report, field):.6g}"), unit=unit)
            for field, code, unit in quantities
            if math.isfinite(getattr(report, field))
        ]
        if measurements:
            groups.append(
                sr.MeasurementsAndQualitativeEvaluations(
                    tracking_identifier=sr.TrackingIdentifier(
                        uid=uid_of(f"{_identity(sources)}.{name}"), identifier=name
                    ),
                    finding_type=Code("123037004", "SCT", "Anatomical Structure"),
                    finding_sites=[sr.FindingSite(anatomic_location=site)],
                    measurements=measurements,
                    source_images=[
                        sr.SourceImageForMeasurementGroup.from_source_image(image, numbers)
                        for image, numbers in _by_instance(_measured_on(report, images))
                    ],
                )
            )
    if not groups:
        raise CardioDiTError(
            "Nothing was measured, so there is nothing to report.",
            "See the reasons in the report of cardiodit function.",
        )
    observer = sr.DeviceObserverIdentifyingAttributes(
        uid=uid_of("CardioDiT device"), name="CardioDiT", manufacturer_name="CardioDiT", model_name="CardioDiT"
    )
    context = sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=Code("121007", "DCM", "Device"), observer_identifying_attributes=observer
        )
    )
    content = sr.MeasurementReport(
        observation_context=context,
        procedure_reported=Code("241620005", "SCT", "MRI of heart"),
        imaging_measurements=groups,
        title=Code("126000", "DCM", "Imaging Measurement Report"),
    )
    identity = f"{_identity(sources)}{report.to_dict()!r}"
    evidence = [*sources, *([segmentation] if segmentation is not None else [])]
    whole = sr.Comprehensive3DSR(
        evidence=evidence,
        content=content[0],
        series_number=901,
        series_instance_uid=uid_of(f"{identity}.sr.series"),
        sop_instance_uid=uid_of(f"{identity}.sr"),
        instance_number=1,
        manufacturer="CardioDiT",
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description="Ventricular function",
    )
    if report.meta.get("synthetic"):
        whole.SyntheticData = "YES"
    whole.SoftwareVersions = __version__
    return whole


def write_structured_report(
    report: FunctionReport, images: Sequence[Sequence[Dataset]], path: Path, segmentation: Dataset | None = None
) -> None:
    """Write :func:`structured_report` to a file."""
    dataset = structured_report(report, images, segmentation)
    with atomic_path(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)


def _measured_on(report: FunctionReport, images: Sequence[Sequence[Dataset]]) -> list[Dataset]:
    """The images of end-diastole and end-systole, where these are known, else all."""
    chosen = {frame for frame in (report.ed_frame, report.es_frame) if frame is not None}
    return [image for frames in images for t, image in enumerate(frames) if t in chosen or not chosen]


def _by_instance(images: Sequence[Dataset]) -> list[tuple[Dataset, list[int] | None]]:
    """Each instance with the numbers of its frames that are meant; None for an image of one frame."""
    found: dict[str, tuple[Dataset, list[int]]] = {}
    for image in images:
        numbers = found.setdefault(str(image.SOPInstanceUID), (image, []))[1]
        number = frame_number(image)
        if number is not None:
            numbers.append(number)
    return [(image, sorted(numbers) or None) for image, numbers in found.values()]


def _identity(sources: Sequence[Dataset]) -> str:
    return str(sources[0].SOPInstanceUID)
