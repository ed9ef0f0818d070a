"""DICOM segmentation objects: their pixels and geometry as other readers see them, and what must not be in them."""

import logging
import tracemalloc

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from modicum.data.image import ImageRef
from modicum.data.writers import segmentation_object
from modicum.data.writers.segmentation_object import SegmentationObject
from modicum.errors import BrokenImageError, InputError

highdicom = pytest.importorskip("highdicom", reason="needs the extra 'dicom'")
RNG = np.random.default_rng(0)
LABELS = ("cup", "disc", "vessels")
# Type 1 and type 2 of the modules that PS3.3 table A.51-1 makes mandatory, and type 1 of a segment (C.8.20.4).
DEMANDED_1 = [
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber"),
    *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),  # C.7.5.2
    *(
        "InstanceNumber",
        "ImageType",
        "ContentDate",
        "ContentTime",
        "SegmentationType",
        "ContentLabel",
    ),  # C.8.20.2
    *("LossyImageCompression", "SegmentSequence", "NumberOfFrames", "DimensionOrganizationSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence"),
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation", "PixelData"),
]
DEMANDED_2 = [
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
]
SEGMENT_1 = [
    *("SegmentNumber", "SegmentLabel", "SegmentAlgorithmType", "SegmentAlgorithmName"),
    *("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence"),
]


@pytest.fixture(params=["CT_small", "MR_small", "MR_small_RLE"])
def source(request, real_images):
    return real_images("dicom_nifti") / f"{request.param}.dcm"


def packaged(name="MR_small.dcm"):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom has no packaged {name}")
    return pydicom.dcmread(path)


def regions_of(shape, classes=3, density=0.5):
    return RNG.random((classes, *shape)) < density


def written(tmp_path, sources, stack, labels=LABELS, **options):
    """One object of some images; what it is read back as."""
    made = SegmentationObject(labels, "run 7 (segment)", "case-017", **options)
    for source, regions in zip(sources, stack, strict=True):
        assert made.add(source if isinstance(source, ImageRef) else ImageRef(source), regions)
    made.write(tmp_path / "out.dcm")
    return pydicom.dcmread(tmp_path / "out.dcm")


@pytest.mark.parametrize("level", ["WARNING", "INFO", "DEBUG"])
def test_highdicoms_log_stays_out_of_the_users(tmp_path, level, caplog):
    """One object of many images: highdicom has lines for each, from any of its modules."""
    header = packaged()
    paths = []
    for number in range(4):
        header.SOPInstanceUID, header.InstanceNumber = f"1.2.3.{number}", number
        header.ImagePositionPatient = [0, 0, 3 * number]
        paths.append(tmp_path / f"{number}.dcm")
        header.save_as(paths[-1])
    stack = [regions_of((header.Rows, header.Columns)) for _ in paths]
    with caplog.at_level(level):
        written(tmp_path, paths, stack)
    assert [record for record in caplog.records if record.name.startswith("highdicom")] == []
    assert logging.getLogger("highdicom").level == logging.NOTSET


def test_a_level_that_the_user_gave_highdicoms_log_stays(tmp_path, source, caplog):
    with caplog.at_level("DEBUG", logger="highdicom"):
        written(tmp_path, [source], [regions_of((128, 128) if "CT" in source.name else (64, 64))])
        assert logging.getLogger("highdicom").level == logging.DEBUG
    assert any(record.name.startswith("highdicom") for record in caplog.records)


def by_source(path, uids, frames=None):
    """What highdicom reads for each source: ``[images, height, width, classes]``."""
    read = highdicom.seg.segread(path)
    if frames is not None:
        return read.get_pixels_by_source_frame(uids, frames, assert_missing_frames_are_empty=True)
    return read.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)


def slices(tmp_path, count, **changes):
    """The files of a made series, in an order that is not that of their places."""
    paths = []
    for number in np.random.default_rng(1).permutation(count):
        dataset = packaged()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        dataset.ImagePositionPatient = [-83.9, -91.2, 6.6 + 2.5 * float(number)]
        dataset.InstanceNumber = int(number) + 1
        for keyword, value in changes.items():
            setattr(dataset, keyword, value(number))
        paths.append(tmp_path / f"in{number}.dcm")
        dataset.save_as(paths[-1])
    return paths


def test_pixels_and_geometry_are_the_mask_s_and_the_source_s(source, tmp_path):
    own = pydicom.dcmread(source)
    regions = regions_of((own.Rows, own.Columns))
    made = written(tmp_path, [source], [regions])
    np.testing.assert_array_equal(made.pixel_array, regions)
    assert (made.SegmentationType, made.SegmentsOverlap, made.BitsAllocated) == ("BINARY", "YES", 1)
    shared, frames = made.SharedFunctionalGroupsSequence[0], made.PerFrameFunctionalGroupsSequence
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == own.ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == own.PixelSpacing
    assert shared.PixelMeasuresSequence[0].SliceThickness == own.SliceThickness
    between = shared.PixelMeasuresSequence[0].get("SpacingBetweenSlices")
    assert between == own.get("SpacingBetweenSlices")  # of one image nothing is made up
    for number, frame in enumerate(frames, 1):
        assert frame.PlanePositionSequence[0].ImagePositionPatient == own.ImagePositionPatient
        assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
    assert made.FrameOfReferenceUID == own.FrameOfReferenceUID


def test_what_the_standard_demands_is_there(source, tmp_path):
    own = pydicom.dcmread(source)
    made = written(tmp_path, [source], [regions_of((own.Rows, own.Columns))])
    assert made.SOPClassUID == made.file_meta.MediaStorageSOPClassUID == SegmentationStorage
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID
    assert made.Modality == "SEG"
    for keyword in DEMANDED_1:
        assert made[keyword].value not in (None, "", []), keyword
    for keyword in DEMANDED_2:
        assert keyword in made, keyword
    assert len(made.PixelData) % 2 == 0
    for number, (label, segment) in enumerate(zip(LABELS, made.SegmentSequence, strict=True), 1):
        for keyword in SEGMENT_1:
            assert segment[keyword].value not in (None, "", []), keyword
        assert (segment.SegmentNumber, segment.SegmentLabel) == (number, label)
        assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == (
            "AUTOMATIC",
            "run 7 (segment)",
        )
        code = segment.SegmentedPropertyTypeCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == (
            "85756007",
            "SCT",
            "Tissue",
        )
    for element in made.iterall():
        if element.VR == "UI":
            assert pydicom.uid.UID(element.value).is_valid


@pytest.mark.parametrize("kind", ["overlapping", "exclusive", "one class"])
def test_a_series_is_one_object_from_which_each_slice_is_found_by_its_source(kind, tmp_path):
    paths = slices(tmp_path, 5)
    stack = RNG.random((5, 3, 64, 64)) < 0.4
    labels = LABELS
    if kind == "exclusive":
        stack &= RNG.integers(0, 3, (5, 1, 64, 64)) == np.arange(3)[:, None, None]
    if kind == "one class":
        stack, labels = stack[:, :1], LABELS[:1]
    stack[2] = False  # nothing in one slice,
    stack[3, 0] = False  # one class not in another
    made = written(tmp_path, paths, stack, labels)
    assert made.SegmentsOverlap == ("YES" if kind == "overlapping" else "NO")
    assert made.NumberOfFrames == stack.any((2, 3)).sum()
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in paths]
    np.testing.assert_array_equal(by_source(tmp_path / "out.dcm", uids), np.moveaxis(stack, 1, -1))
    for frame in made.PerFrameFunctionalGroupsSequence:
        (item,) = frame.DerivationImageSequence[0].SourceImageSequence
        own = pydicom.dcmread(paths[uids.index(item.ReferencedSOPInstanceUID)])
        assert item.ReferencedSOPClassUID == own.SOPClassUID
        assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert frame.PlanePositionSequence[0].ImagePositionPatient == own.ImagePositionPatient
    named = [item.ReferencedSOPInstanceUID for item in made.SourceImageSequence]
    assert sorted(named) == sorted(uids)
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SpacingBetweenSlices == pytest.approx(2.5)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.floats(0, 1), st.integers(0, 2**31))
def test_any_regions_come_back(tmp_path_factory, classes, density, seed):
    folder = tmp_path_factory.mktemp("regions")
    packaged().save_as(folder / "in.dcm")
    regions = np.random.default_rng(seed).random((1, classes, 64, 64)) < density
    made = written(folder, [folder / "in.dcm"], regions, [f"class {n}" for n in range(classes)])
    back = by_source(folder / "out.dcm", [made.SourceImageSequence[0].ReferencedSOPInstanceUID])
    np.testing.assert_array_equal(back[0], np.moveaxis(regions[0], 0, -1))


def test_where_nothing_is_found_there_is_an_object_of_nothing(tmp_path):
    paths = slices(tmp_path, 3)
    made = written(tmp_path, paths, np.zeros((3, 3, 64, 64), bool))
    assert not made.pixel_array.any()
    assert len(made.SourceImageSequence) == 3


def test_uids_are_new_and_the_source_is_in_another_study(source, tmp_path):
    own = pydicom.dcmread(source)
    made = written(tmp_path, [source], [regions_of((own.Rows, own.Columns))])
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert made[keyword].value != own[keyword].value
    assert "ReferencedSeriesSequence" not in made
    (study,) = made.StudiesContainingOtherReferencedInstancesSequence
    assert study.StudyInstanceUID == own.StudyInstanceUID
    assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == own.SeriesInstanceUID
    (instance,) = study.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert instance.ReferencedSOPInstanceUID == own.SOPInstanceUID


def test_the_study_is_kept_only_when_asked(source, tmp_path):
    own = pydicom.dcmread(source)
    made = written(tmp_path, [source], [regions_of((own.Rows, own.Columns))], keep_study=True)
    assert made.StudyInstanceUID == own.StudyInstanceUID
    assert made.PatientID == "case-017"
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == own.SeriesInstanceUID
    assert "StudiesContainingOtherReferencedInstancesSequence" not in made


PLANTED = {
    "PN": "Secret^Person",
    "LO": "Secret place",
    "SH": "Secret1",
    "ST": "secret",
    "LT": "secret story",
    "UT": "secret",
    "AE": "SECRETAE",
    "UC": "secret",
    "DA": "19470307",
    "TM": "030709",
    "DT": "19470307030709",
    "AS": "083Y",
}
# Of the modules that highdicom copies whole: patient, study, specimen, clinical trial, acquisition equipment.
COPIED_WHOLE = [
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientAge"),
    *("OtherPatientNames", "PatientComments", "EthnicGroup", "Occupation", "AdditionalPatientHistory"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription", "ReferringPhysicianName"),
    *("PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "AdmittingDiagnosesDescription", "AdmissionID"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialSubjectID", "ContainerIdentifier"),
    *("Manufacturer", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName"),
    *(
        "DeviceSerialNumber",
        "ManufacturerModelName",
        "SoftwareVersions",
        "AcquisitionDate",
        "AcquisitionTime",
    ),
    *("AcquisitionDateTime", "OperatorsName", "ImageComments", "SeriesDescription", "ContentCreatorName"),
]


@pytest.mark.parametrize("keep_study", [False, True])
def test_nothing_that_names_somebody_is_copied(source, tmp_path, keep_study):
    """A text in each element of text, also inside sequences and private ones; none may reach the file."""
    own = pydicom.dcmread(source)
    for keyword in COPIED_WHOLE:
        setattr(own, keyword, PLANTED[pydicom.datadict.dictionary_VR(keyword)])
    own.PatientSex, own.PatientWeight = "F", 83.25
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID, item.SpecimenIdentifier = "Secret1", "Secret place", "Secret1"
    own.OtherPatientIDsSequence = own.SpecimenDescriptionSequence = own.PatientSpeciesCodeSequence = [item]
    own.private_block(0x0BAD, "SECRET MAKER", create=True).add_new(1, "LO", "Secret place")
    for element in own:
        if element.VR in PLANTED and element.tag.group != 2:
            element.value = PLANTED[element.VR]
    own.PositionReferenceIndicator = "Secret^Person"
    own.save_as(tmp_path / "in.dcm")
    made = written(
        tmp_path, [tmp_path / "in.dcm"], [regions_of((own.Rows, own.Columns))], keep_study=keep_study
    )
    head = (tmp_path / "out.dcm").read_bytes()[: -len(made.PixelData)].lower()
    for text in (*PLANTED.values(), "secret", "83.25"):
        assert text.lower().encode() not in head, text
    assert made.PatientName == made.PatientID == "case-017"
    assert (made.PatientBirthDate, made.PatientSex, made.StudyDate, made.StudyID) == ("", "", "", "")
    assert made.PatientIdentityRemoved == "YES"
    # Of UIDs only those that name the sources and where they lie.
    uids = {element.value for element in own.iterall() if element.VR == "UI"} - {own.SOPClassUID}
    found = {element.value for element in made.iterall() if element.VR == "UI"}
    linked = {
        own[f"{one}UID"].value
        for one in ("SOPInstance", "SeriesInstance", "StudyInstance", "FrameOfReference")
    }
    assert uids & found == linked


def test_frames_of_one_enhanced_file_are_one_object(tmp_path):
    own = packaged()
    own.NumberOfFrames, own.PixelData = 3, RNG.integers(0, 1000, (3, 64, 64)).astype("<i2").tobytes()
    shared, places = Dataset(), []
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [Dataset()], [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.4, 0.4]
    shared.PixelMeasuresSequence[0].SliceThickness = 2
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    for frame in range(3):
        places.append(Dataset())
        places[-1].PlanePositionSequence = [Dataset()]
        places[-1].PlanePositionSequence[0].ImagePositionPatient = [frame, 20, 30]
    own.SharedFunctionalGroupsSequence, own.PerFrameFunctionalGroupsSequence = [shared], places
    del own.ImagePositionPatient, own.ImageOrientationPatient, own.PixelSpacing
    own.save_as(tmp_path / "in.dcm")
    stack = np.stack([regions_of((64, 64)) for _ in range(3)])
    made = written(tmp_path, [ImageRef(tmp_path / "in.dcm", frame=at) for at in range(3)], stack)
    assert [item.ReferencedSOPInstanceUID for item in made.SourceImageSequence] == [own.SOPInstanceUID]
    back = by_source(tmp_path / "out.dcm", own.SOPInstanceUID, [1, 2, 3])
    np.testing.assert_array_equal(back, np.moveaxis(stack, 1, -1))
    for frame in made.PerFrameFunctionalGroupsSequence:
        number = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        assert frame.PlanePositionSequence[0].ImagePositionPatient == [number - 1, 20, 30]


@pytest.mark.parametrize(
    "other",
    [
        {"ImagePositionPatient": lambda number: [1.0 + number, 2, 3]},  # the same plane twice
        {"ImageOrientationPatient": lambda number: [1, 0, 0, 0, 1, 0] if number else [0, 1, 0, 0, 0, -1]},
        {"PixelSpacing": lambda number: [0.5 + 0.1 * number] * 2},
        {"FrameOfReferenceUID": lambda number: f"1.2.7.{number}"},
        {"SeriesInstanceUID": lambda number: f"1.2.8.{number}"},
        {"ImagePositionPatient": lambda number: None},  # of unknown place
    ],
    ids=["plane", "orientation", "spacing", "frame of reference", "series", "no place"],
)
def test_images_that_are_not_planes_of_one_stack_are_not_in_one_object(other, tmp_path):
    first, second = slices(tmp_path, 2, **other)
    made = SegmentationObject(LABELS, "m", "p1")
    regions = regions_of((64, 64))
    assert made.add(ImageRef(first), regions)
    assert not made.add(ImageRef(second), regions)
    made.write(tmp_path / "out.dcm")
    uid = pydicom.dcmread(first).SOPInstanceUID
    np.testing.assert_array_equal(by_source(tmp_path / "out.dcm", [uid])[0], np.moveaxis(regions, 0, -1))


def test_directions_that_differ_by_rounding_are_one_stack(tmp_path):
    turn = {"ImageOrientationPatient": lambda number: [1, 1e-6 * number, 0, -1e-6 * number, 1, 0]}
    paths = slices(tmp_path, 3, **turn)
    made = written(tmp_path, paths, np.stack([regions_of((64, 64)) for _ in paths]))
    assert len(made.SourceImageSequence) == 3


def test_an_image_without_a_frame_of_reference_has_an_object_that_names_it(tmp_path):
    own = packaged("examples_rgb_color.dcm")
    own.save_as(tmp_path / "in.dcm")
    regions = regions_of((own.Rows, own.Columns))
    made = written(tmp_path, [ImageRef(tmp_path / "in.dcm", frame=0)], [regions])
    np.testing.assert_array_equal(made.pixel_array, regions)
    (item,) = made.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    assert item.ReferencedSOPInstanceUID == own.SOPInstanceUID
    assert item.ReferencedSOPClassUID == own.SOPClassUID


def test_a_lossy_source_stays_marked_as_lossy(tmp_path):
    lossy = {"LossyImageCompression": lambda number: "01", "LossyImageCompressionRatio": lambda number: 12.5}
    made = written(tmp_path, slices(tmp_path, 1, **lossy), [regions_of((64, 64))])
    assert (made.LossyImageCompression, made.LossyImageCompressionRatio) == ("01", 12.5)


def test_labels_are_what_dicom_can_hold_and_the_name_is_kept_beside(tmp_path):
    names = ["Gefäße", "a\\b", "x" * 80]
    made = written(tmp_path, slices(tmp_path, 1), [regions_of((64, 64))], names)
    assert [segment.SegmentLabel for segment in made.SegmentSequence] == ["Gefäße", "ab", "x" * 64]
    described = [segment.get("SegmentDescription") for segment in made.SegmentSequence]
    assert described == [None, "a\\b", "x" * 80]


def test_what_is_collected_is_a_bit_a_pixel_and_class(tmp_path):
    large = {"Rows": lambda number: 1024, "Columns": lambda number: 1024}  # headers alone are read
    paths = slices(tmp_path, 9, **large)
    made = SegmentationObject(LABELS, "m", "p1")
    regions = np.ones((3, 1024, 1024), bool)
    made.add(ImageRef(paths[0]), regions)
    tracemalloc.start()
    try:
        for path in paths[1:]:
            assert made.add(ImageRef(path), regions)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 1.2 * 8 * regions.size / 8, f"{held / 8 / regions.size:.3f} bytes a pixel and class"


def test_the_patient_s_own_id_is_no_pseudonym_and_is_not_shown(source):
    own = pydicom.dcmread(source)
    name = str(own.PatientID)
    with pytest.raises(InputError) as raised:
        SegmentationObject(LABELS, "m", name.lower()).add(
            ImageRef(source), regions_of((own.Rows, own.Columns))
        )
    assert name.lower() not in str(raised.value).lower()


def test_what_cannot_be_written(tmp_path, monkeypatch):
    (path,) = slices(tmp_path, 1)
    made = SegmentationObject(LABELS, "m", "p1")
    with pytest.raises(InputError, match="regions of 3 x 8 x 8 for 3 classes in an image of 64 x 64"):
        made.add(ImageRef(path), regions_of((8, 8)))
    with pytest.raises(InputError, match="regions of 2 x 64 x 64 for 3 classes"):
        made.add(ImageRef(path), regions_of((64, 64), classes=2))
    with pytest.raises(InputError, match="it contains no image; call add"):
        made.write(tmp_path / "out.dcm")
    with pytest.raises(InputError, match="without classes"):
        SegmentationObject((), "m", "p1")
    with pytest.raises(InputError, match="pseudonym"):
        SegmentationObject(LABELS, "m", "Doe^Jane")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(60))
    with pytest.raises(BrokenImageError, match="is not a DICOM file but PNG"):
        made.add(ImageRef(tmp_path / "a.png"), regions_of((64, 64)))
    made.add(ImageRef(path), regions_of((64, 64)))
    monkeypatch.setattr(segmentation_object, "can_write_segmentation", lambda: False)
    with pytest.raises(InputError, match=r"pip install modicum\[dicom\]"):
        made.write(tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()
