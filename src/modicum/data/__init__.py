"""Reads data: from files to samples.

In the order of use: :mod:`~modicum.data.readers` read a file as a
:class:`~modicum.data.image.MedicalImage`; :mod:`~modicum.data.layouts` read a data set as a
:class:`~modicum.data.manifest.Manifest`; :mod:`~modicum.data.checks` find broken files, duplicates and leaks;
:mod:`~modicum.data.splits` split by patient; :mod:`~modicum.data.prepared` crops and resizes;
:mod:`~modicum.data.stores` store the result; :mod:`~modicum.data.sampling` orders an epoch.
:mod:`~modicum.data.phantoms` make synthetic images to try things out.
"""
