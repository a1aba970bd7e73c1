"""What an anonymisation script of a server does to a file, computed as its engine does it (DicomEdit 6 and 4)."""
