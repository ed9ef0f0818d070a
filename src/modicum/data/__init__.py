"""Files in, samples out.

In the order in which data meet it: :mod:`~modicum.data.readers` turn a file into a
:class:`~modicum.data.image.MedicalImage`; :mod:`~modicum.data.layouts` turn a data set into a
:class:`~modicum.data.manifest.Manifest`; :mod:`~modicum.data.checks` find what is broken, twice there or leaks;
:mod:`~modicum.data.splits` deal patients out; :mod:`~modicum.data.prepared` crops and resizes;
:mod:`~modicum.data.stores` keep the result; :mod:`~modicum.data.sampling` orders an epoch.
:mod:`~modicum.data.phantoms` make images to try it all on.
"""
