cimport cython

from ..trace cimport Trace


cdef class Spread:
    cdef readonly tuple bounds
    cdef readonly list counts
    cdef readonly double total

    @cython.locals(at=Py_ssize_t)
    cpdef add(self, double seconds)
    cpdef Spread copy(self)


cdef class Named:
    cdef readonly Spread seconds
    cdef readonly dict outcomes
    cdef readonly dict errors
    cdef public Py_ssize_t statements
    cdef public Py_ssize_t rows
    cdef public Py_ssize_t round_trips
    cdef public double working
    cdef public Py_ssize_t retries

    cpdef Named copy(self)
    cpdef add(self, Trace trace)


cdef str _word_of(object outcome)

@cython.locals(trace=Trace, named=Named)
cdef _count(object pending, dict names, Spread waits, Py_ssize_t most)
