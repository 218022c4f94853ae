cdef class Place:
    cdef public object _at
    cdef public object _code


cpdef object caller_frame()
