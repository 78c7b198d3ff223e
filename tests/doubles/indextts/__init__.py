"""A double of the package `indextts`: the marks and methods of its two models, and tones."""
