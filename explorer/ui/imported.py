"""Modules that several threads of the server may come to need at once, imported here by the first: importing
app.py imports this one.

Of packages that load their parts at first use, or whose parts import each other, two threads can see half a module:
a RecursionError from numpy.fft was seen so.
"""

import numpy.fft
import numpy.random
import scipy.cluster.hierarchy
import scipy.ndimage
import scipy.signal
import scipy.stats

IMPORTED = (numpy.fft, numpy.random, scipy.cluster.hierarchy, scipy.ndimage, scipy.signal, scipy.stats)
