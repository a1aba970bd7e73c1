"""xnbtransfer: copy DICOM sessions between XNAT projects, prove every file, keep the record."""

__version__ = "0.1.0"
