"""Dense predictions out to files: pictures, NIfTI volumes slice by slice, derived DICOM images.

All are written atomically, and are read back by ``modicum.data.readers`` with the values that were given, to
within half a step of what the file's numbers can tell apart. What is not a number is refused: no file format
here says what a viewer is to make of it.
"""

from modicum.data.writers.dicom import DerivedSeries
from modicum.data.writers.nifti import nifti_writer
from modicum.data.writers.raster import write_labels, write_png, write_tiff

__all__ = ["DerivedSeries", "nifti_writer", "write_labels", "write_png", "write_tiff"]
