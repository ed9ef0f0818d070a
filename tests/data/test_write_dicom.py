"""Derived DICOM images: what PS3.3 demands of them, what must not be in them, and their values read back."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage

from modicum.data.image import ImageRef
from modicum.data.readers import read_dicom_values, read_image
from modicum.data.volumes import dicom_volume
from modicum.data.writers import DerivedSeries
from modicum.errors import BrokenImageError, InputError

RNG = np.random.default_rng(0)
# Attributes of type 1 (there, with a value) and of type 2 (there), of the modules that PS3.3 tables A.3-1 (CT),
# A.4-1 (MR) and A.8-1 (secondary capture) make mandatory.
GENERAL_1 = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "Modality",
    "SeriesInstanceUID",
]  # C.12.1, C.7.2-3
PIXELS_1 = [  # C.7.6.3
    *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "PixelData"),
]
COMMON_1 = [*GENERAL_1, *PIXELS_1]
COMMON_2 = [
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),  # C.7.1.1
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),  # C.7.2.1
    *("SeriesNumber", "Manufacturer", "InstanceNumber"),  # C.7.3.1, C.7.5.1, C.7.6.1
]
PLANE_1 = [
    "FrameOfReferenceUID",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
]
PLANE_2 = ["PositionReferenceIndicator", "SliceThickness", "PatientPosition"]
DEMANDED = {
    CTImageStorage: (
        [*COMMON_1, *PLANE_1, "RescaleIntercept", "RescaleSlope"],
        [*COMMON_2, *PLANE_2, "KVP", "AcquisitionNumber"],
    ),
    MRImageStorage: (
        [*COMMON_1, *PLANE_1, "ScanningSequence", "SequenceVariant"],
        [
            *COMMON_2,
            *PLANE_2,
            *["ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"],
        ],
    ),
    SecondaryCaptureImageStorage: ([*COMMON_1, "ConversionType"], [*COMMON_2, "PatientOrientation"]),
}


@pytest.fixture(params=["CT_small", "MR_small", "MR_small_RLE"])
def source(request, real_images):
    return real_images("dicom_nifti") / f"{request.param}.dcm"


def packaged(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom has no packaged {name}")
    return Path(path)


def own_values(path):
    """A source's values in its units, and the range they are read with."""
    image = read_image(path, intensity="range")
    return image.values(), image.value_range


def derived(path, tmp_path, values=None, **options):
    own, value_range = own_values(path)
    series = DerivedSeries("reggan ct2mr", "case-017", options.pop("value_range", value_range), **options)
    series.write(tmp_path / "out.dcm", ImageRef(path), own if values is None else values)
    return pydicom.dcmread(tmp_path / "out.dcm"), series


def assert_demanded(dataset):
    first, second = DEMANDED[dataset.SOPClassUID]
    for keyword in first:
        assert keyword in dataset, keyword
        assert dataset[keyword].value not in (None, "", []), keyword
    for keyword in second:
        assert keyword in dataset, keyword
    assert len(dataset.PixelData) % 2 == 0
    assert dataset.HighBit == dataset.BitsStored - 1
    meta = dataset.file_meta
    assert meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    assert meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    for element in dataset.iterall():
        if element.VR == "UI":
            assert pydicom.uid.UID(element.value).is_valid
        if element.VR == "DS" and not element.is_empty:
            for text in np.atleast_1d(np.array(element.value, object)):
                assert len(str(getattr(text, "original_string", text))) <= 16


def test_what_the_standard_demands_is_there(source, tmp_path):
    dataset, _ = derived(source, tmp_path)
    assert dataset.SOPClassUID == pydicom.dcmread(source).SOPClassUID
    assert_demanded(dataset)
    assert list(dataset.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    assert dataset.ImageType[2] == ("AXIAL" if dataset.Modality == "CT" else "OTHER")
    assert "reggan ct2mr" in dataset.DerivationDescription


def test_values_come_back_to_half_a_step(source, tmp_path):
    values, _ = own_values(source)
    _, series = derived(source, tmp_path, units="HU")
    back = read_dicom_values(tmp_path / "out.dcm")
    assert np.abs(back - values[0]).max() <= series.step / 2 * 1.001
    image = read_image(tmp_path / "out.dcm")
    width = series.value_range[1] - series.value_range[0]
    assert np.abs(image.values()[0] - values[0]).max() <= series.step / 2 + 2e-7 * width
    assert image.value_range == pytest.approx(series.value_range, abs=1e-6 * width)
    assert image.spacing == read_image(source).spacing


@settings(max_examples=40, deadline=None)
@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e6))
def test_any_range_comes_back_to_half_a_step(tmp_path_factory, low, width):
    path = packaged("MR_small.dcm")
    folder = tmp_path_factory.mktemp("range")
    values = (low + width * RNG.random((1, 64, 64))).astype(np.float64)
    values[0, 0, :2] = low, low + width
    _, series = derived(path, folder, values, value_range=(low, low + width))
    back = read_dicom_values(folder / "out.dcm")
    # Ten digits of the intercept are written at the least, and 65,535 steps of rounding add up.
    assert np.abs(back - values[0]).max() <= series.step / 2 + 1e-8 * max(abs(low), width)


def test_geometry_and_frame_of_reference_are_kept(source, tmp_path):
    original, (dataset, _) = pydicom.dcmread(source), derived(source, tmp_path)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
        assert dataset[keyword].value == original[keyword].value, keyword
    for keyword in ("SliceThickness", "PatientPosition", "InstanceNumber"):
        assert dataset[keyword].value == original[keyword].value, keyword


def test_uids_are_new_and_the_source_is_named(source, tmp_path):
    original, (dataset, _) = pydicom.dcmread(source), derived(source, tmp_path)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert dataset[keyword].value != original[keyword].value
    (reference,) = dataset.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == original.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == original.SOPClassUID
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def test_the_slices_of_one_series_share_it_and_differ_as_instances(source, tmp_path):
    values, value_range = own_values(source)
    series = DerivedSeries("m", "p1", value_range)
    for name in ("a", "b"):
        series.write(tmp_path / f"{name}.dcm", ImageRef(source), values)
    first, second = (pydicom.dcmread(tmp_path / f"{name}.dcm") for name in ("a", "b"))
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert DerivedSeries("m", "p1", value_range).series_uid != series.series_uid


def test_the_study_is_kept_only_when_asked(source, tmp_path):
    dataset, _ = derived(source, tmp_path, keep_study=True)
    assert dataset.StudyInstanceUID == pydicom.dcmread(source).StudyInstanceUID
    assert dataset.PatientID == "case-017"


def test_nothing_that_names_somebody_is_copied(source, tmp_path):
    """A text in each element of text, also inside sequences and private ones; none may reach the file."""
    original = pydicom.dcmread(source)
    texts = {
        "PN": "Secret^Person",
        "LO": "Secret place",
        "SH": "Secret1",
        "ST": "secret",
        "LT": "secret story",
    }
    texts |= {
        "UT": "secret",
        "AE": "SECRETAE",
        "UC": "secret",
        "DA": "19470307",
        "TM": "030709",
        "AS": "083Y",
    }
    technical = {"ImageType", "PatientPosition", "Modality", "PositionReferenceIndicator"}
    for keyword in attributes_of_identity():
        vr = pydicom.datadict.dictionary_VR(keyword)
        if vr in texts:
            setattr(original, keyword, texts[vr])
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID = "Secret1", "Secret place"
    original.OtherPatientIDsSequence = [item]
    block = original.private_block(0x0BAD, "SECRET MAKER", create=True)
    block.add_new(1, "LO", "Secret place")
    for element in original:
        if element.VR in texts and element.keyword not in technical and element.tag.group != 2:
            element.value = texts[element.VR]
    original.PositionReferenceIndicator = "Secret^Person"
    original.save_as(tmp_path / "in.dcm")
    derived(tmp_path / "in.dcm", tmp_path)
    data = (tmp_path / "out.dcm").read_bytes()
    pixels = len(pydicom.dcmread(tmp_path / "out.dcm").PixelData)
    head = data[:-pixels].lower()
    for text in (*texts.values(), "secret"):
        assert text.lower().encode() not in head, text
    result = pydicom.dcmread(tmp_path / "out.dcm")
    assert not any(element.tag.is_private for element in result.iterall())
    assert (result.PatientName, result.PatientID) == ("case-017", "case-017")
    assert result.PatientIdentityRemoved == "YES"
    assert result.DeidentificationMethod
    assert result.BitsStored == 16


def attributes_of_identity():
    """Attributes that PS3.15 table E.1-1 wants removed, a choice of them."""
    return (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientBirthTime"),
        *("PatientAddress", "PatientTelephoneNumbers", "PatientAge", "PatientMotherBirthName"),
        *("EthnicGroup", "Occupation", "AdditionalPatientHistory", "PatientComments"),
        *(
            "ReferringPhysicianName",
            "ReferringPhysicianAddress",
            "PhysiciansOfRecord",
            "PerformingPhysicianName",
        ),
        *("OperatorsName", "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName"),
        *("StationName", "AccessionNumber", "StudyID", "StudyDate"),
        *("StudyTime", "StudyDescription", "SeriesDescription", "SeriesDate"),
        *("AcquisitionDate", "ProtocolName", "DeviceSerialNumber", "ImageComments"),
        *(
            "RequestingPhysician",
            "RequestedProcedureDescription",
            "PerformedProcedureStepDescription",
            "IssuerOfPatientID",
        ),
        *("DerivationDescription", "ContentCreatorName", "MilitaryRank", "CurrentPatientLocation"),
    )


def test_another_reader_sees_the_same_geometry_and_values(source, tmp_path):
    gdcm = pytest.importorskip("gdcm", reason="needs the extra 'dicom'")
    values, _ = own_values(source)
    dataset, series = derived(source, tmp_path)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(tmp_path / "out.dcm"))
    assert reader.Read()
    image = reader.GetImage()
    assert image.GetSlope() == pytest.approx(series.step, rel=1e-9)
    assert image.GetIntercept() == pytest.approx(series.value_range[0], abs=1e-6)
    np.testing.assert_allclose([image.GetOrigin(at) for at in range(3)], dataset.ImagePositionPatient)
    # Across first, as GDCM counts.
    np.testing.assert_allclose([image.GetSpacing(1), image.GetSpacing(0)], dataset.PixelSpacing)
    stored = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), "<u2").reshape(
        values[0].shape
    )
    np.testing.assert_allclose(
        stored * image.GetSlope() + image.GetIntercept(), values[0], atol=series.step / 1.99
    )


def test_the_patient_s_own_id_is_no_pseudonym_and_is_not_shown(source, tmp_path):
    own = str(pydicom.dcmread(source).PatientID)
    values, value_range = own_values(source)
    with pytest.raises(InputError) as raised:
        DerivedSeries("m", own.lower(), value_range).write(tmp_path / "a.dcm", ImageRef(source), values)
    assert own.lower() not in str(raised.value).lower()
    assert not (tmp_path / "a.dcm").exists()


@pytest.mark.parametrize("pseudonym", ["", "Doe^Jane", "a b", "a\\b", "x" * 65, "-a", "ä"])
def test_a_pseudonym_is_a_plain_id(pseudonym):
    with pytest.raises(InputError, match="pseudonym"):
        DerivedSeries("m", pseudonym, (0, 1))


def test_other_modalities_become_secondary_captures(tmp_path):
    dataset = pydicom.dcmread(packaged("MR_small.dcm"))
    dataset.Modality, dataset.SOPClassUID = "OT", SecondaryCaptureImageStorage
    dataset.BurnedInAnnotation = "YES"
    dataset.save_as(tmp_path / "in.dcm")
    result, _ = derived(tmp_path / "in.dcm", tmp_path)
    assert result.SOPClassUID == SecondaryCaptureImageStorage
    assert result.BurnedInAnnotation == "YES"
    assert_demanded(result)


@pytest.mark.parametrize(
    "missing", ["ImagePositionPatient", "FrameOfReferenceUID", "ScanningSequence", "PixelSpacing"]
)
def test_an_mr_that_lacks_what_the_standard_demands_becomes_a_secondary_capture(tmp_path, missing):
    dataset = pydicom.dcmread(packaged("MR_small.dcm"))
    delattr(dataset, missing)
    dataset.save_as(tmp_path / "in.dcm")
    result, _ = derived(tmp_path / "in.dcm", tmp_path)
    assert result.SOPClassUID == SecondaryCaptureImageStorage
    assert_demanded(result)


def test_inverted_images_stay_inverted(tmp_path):
    dataset = pydicom.dcmread(packaged("MR_small.dcm"))
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.save_as(tmp_path / "in.dcm")
    before = read_image(tmp_path / "in.dcm", intensity="range")
    derived(tmp_path / "in.dcm", tmp_path)
    np.testing.assert_allclose(read_image(tmp_path / "out.dcm").pixels, before.pixels, atol=1e-4)


def test_a_lossy_source_stays_marked_as_lossy(tmp_path):
    dataset = pydicom.dcmread(packaged("MR_small.dcm"))
    dataset.LossyImageCompression, dataset.LossyImageCompressionRatio = "01", 12.5
    dataset.save_as(tmp_path / "in.dcm")
    result, _ = derived(tmp_path / "in.dcm", tmp_path)
    assert result.LossyImageCompression == "01"
    assert result.LossyImageCompressionRatio == 12.5


def test_colour_predictions_are_rgb_of_8_bits(tmp_path):
    path = packaged("examples_rgb_color.dcm")
    image = read_image(path)
    series = DerivedSeries("led", "eye-3", (0, 1))
    series.write(tmp_path / "out.dcm", ImageRef(path, frame=0), image.pixels)
    np.testing.assert_allclose(read_image(tmp_path / "out.dcm").pixels, image.pixels, atol=1e-6)
    result = pydicom.dcmread(tmp_path / "out.dcm")
    assert_demanded(result)
    assert result.PhotometricInterpretation == "RGB"


def test_a_frame_of_an_enhanced_object_takes_its_geometry_from_the_functional_groups(tmp_path):
    original = pydicom.dcmread(packaged("MR_small.dcm"))
    frames = RNG.integers(0, 1000, (3, 64, 64))
    original.NumberOfFrames, original.PixelData = 3, frames.astype("<i2").tobytes()
    shared, per_frame = Dataset(), []
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [Dataset()], [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [0.4, 0.4]
    shared.PixelMeasuresSequence[0].SliceThickness = 2
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    for frame in range(3):
        per_frame.append(Dataset())
        per_frame[-1].PlanePositionSequence = [Dataset()]
        per_frame[-1].PlanePositionSequence[0].ImagePositionPatient = [frame, 20, 30]
    original.SharedFunctionalGroupsSequence, original.PerFrameFunctionalGroupsSequence = [shared], per_frame
    del original.ImagePositionPatient, original.ImageOrientationPatient, original.PixelSpacing
    original.save_as(tmp_path / "in.dcm")
    image = read_image(ImageRef(tmp_path / "in.dcm", frame=1), intensity="range")
    series = DerivedSeries("m", "p1", image.value_range)
    series.write(tmp_path / "out.dcm", ImageRef(tmp_path / "in.dcm", frame=1), image.values())
    result = pydicom.dcmread(tmp_path / "out.dcm")
    assert result.ImagePositionPatient == [1, 20, 30]
    assert result.ImageOrientationPatient == [0, 1, 0, 0, 0, -1]
    assert (result.PixelSpacing, result.SliceThickness) == ([0.4, 0.4], 2)
    assert result.InstanceNumber == 2
    assert result.SourceImageSequence[0].ReferencedFrameNumber == 2
    assert np.abs(read_dicom_values(tmp_path / "out.dcm") - frames[1]).max() <= series.step
    assert_demanded(result)


def test_a_constant_prediction_and_values_beyond_the_range(tmp_path):
    path = packaged("MR_small.dcm")
    derived(path, tmp_path, np.full((1, 64, 64), 5.0, np.float32), value_range=(5, 5))
    assert (read_dicom_values(tmp_path / "out.dcm") == 5).all()
    derived(path, tmp_path, np.full((1, 64, 64), 50.0, np.float32), value_range=(0, 10))
    assert read_dicom_values(tmp_path / "out.dcm") == pytest.approx(np.full((64, 64), 10))


def test_a_derived_series_is_a_volume_again(tmp_path):
    original = pydicom.dcmread(packaged("CT_small.dcm"))
    paths = []
    series = DerivedSeries("m", "p1", (-1024, 3071), units="HU")
    stack = RNG.uniform(-1000, 2000, (4, 1, 128, 128)).astype(np.float32)
    for index in range(4):
        original.ImagePositionPatient = [-158.1, -179.0, -75.7 + 5 * index]
        original.InstanceNumber = index + 1
        original.save_as(tmp_path / "slice.dcm")
        paths.append(tmp_path / f"out{3 - index}.dcm")
        series.write(paths[-1], ImageRef(tmp_path / "slice.dcm"), stack[index])
    volume = dicom_volume(sorted(paths))
    assert [ref.path for ref in volume.refs] == paths
    assert volume.spacing == pytest.approx((5, 0.661468, 0.661468))
    for values, image in zip(stack, volume.images(), strict=True):
        assert np.abs(image.values() - values).max() <= series.step / 2 + 1e-3


def test_what_cannot_be_written(tmp_path):
    path = packaged("MR_small.dcm")
    with pytest.raises(InputError, match=r"it is 1 x 8 x 8, its source 64 x 64"):
        derived(path, tmp_path, np.zeros((1, 8, 8), np.float32))
    with pytest.raises(InputError, match="NaN"):
        derived(path, tmp_path, np.full((1, 64, 64), np.nan, np.float32))
    with pytest.raises(InputError, match=r"value range from .* is not finite; use for instance"):
        DerivedSeries("m", "p", (0, float("inf")))
    with pytest.raises(InputError, match="model"):
        DerivedSeries("a\\b", "p", (0, 1))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(60))
    with pytest.raises(BrokenImageError, match="is not a DICOM file but PNG"):
        DerivedSeries("m", "p", (0, 1)).write(
            tmp_path / "b.dcm", ImageRef(tmp_path / "a.png"), np.zeros((1, 2, 2))
        )
    assert not (tmp_path / "out.dcm").exists()
