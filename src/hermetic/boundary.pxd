cdef class Boundary:
    cdef public object state
    cdef public object cause
    cdef public object asked
    cdef public object unexpected

    cpdef committing(self)
    cpdef end(self, object outcome)
