"""Anonymisation scripts as XNAT's own engines carry them out: DicomEdit 6 and 4 over whole files.

`anonymise` is the only room outside that calls this one. What the engines do was recorded from the programs that XNAT
1.8.10 runs (``tests/contract/recorded/dicomedit``) and is explained by their sources (dicom-edit6, dicom-edit4, mizer),
which the modules name where a rule comes from them. Nothing here may import another room: the client has its own
implementation of the same language, and the two are held to the same recordings, not to each other.

================  ================================================================================================
`dataset`         a DICOM file as elements, read and written as dcm4che 2 does
`texts`           values as text and text as values, by value representation and character set
`java`            habits of the engines' language: numbers, message formats, hash order
`limits`          how much text a script may make
`errors`          how a script ends otherwise than well
`patterns`        regular expressions of the engines' language, in bounded time
`version`         which engine a script is for
`lexer6`          the words of DicomEdit 6; `parser6` its statements; `paths` its tag paths
`engine6`         runs them; `functions6`, `dates` and `retain` are its functions; `older6` those of 6.3 to 6.5
`parser4`         the words and statements of DicomEdit 4, whose parser goes on after an error; `engine4` runs them
`run`             a script over one file or several, with the outcome of each
================  ================================================================================================
"""
