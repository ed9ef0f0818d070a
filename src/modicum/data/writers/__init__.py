"""Writes dense predictions to files: images, NIfTI volumes slice by slice, derived DICOM images.

All are written atomically, and are read back by ``modicum.data.readers`` with the same values, to
within half a quantisation step of the file. NaN and infinity are refused: no file format here defines how a viewer
displays them.
"""

from modicum.data.writers.dicom import DerivedSeries
from modicum.data.writers.nifti import nifti_writer
from modicum.data.writers.raster import write_labels, write_png, write_tiff

__all__ = ["DerivedSeries", "nifti_writer", "write_labels", "write_png", "write_tiff"]
