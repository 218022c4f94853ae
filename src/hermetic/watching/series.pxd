cimport cython


@cython.locals(rest=cython.longlong, shift=Py_ssize_t)
cpdef Py_ssize_t bucket_of(double seconds)


cdef class Series:
    cdef public dict buckets
    cdef public Py_ssize_t committed
    cdef public Py_ssize_t count
    cdef public Py_ssize_t failed
    cdef public double longest
    cdef public Py_ssize_t not_committed
    cdef public Py_ssize_t retried
    cdef public Py_ssize_t round_trips
    cdef public Py_ssize_t rows
    cdef public double seconds
    cdef public Py_ssize_t statements
    cdef public Py_ssize_t unknown
    cdef public double waited

    @cython.locals(bucket=Py_ssize_t)
    cpdef add(
        self,
        double seconds,
        object outcome,
        bint failed=*,
        bint retried=*,
        Py_ssize_t statements=*,
        double waited=*,
        Py_ssize_t rows=*,
        Py_ssize_t round_trips=*,
    )


cdef class Timeline:
    cdef public double width
    cdef public object _slots
    cdef public Py_ssize_t _number
    cdef public Series _last

    @cython.locals(number=Py_ssize_t)
    cpdef Series at(self, double moment)
