"""The benchmark: eleven layers, each importing only what stands below it.

commands, stages, reporting, measuring, training, tracking, scoring, data, settings and engine, and
then contexts and ann, which lie beside this folder.
"""
