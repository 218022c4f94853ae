cdef object _ACTIVE, _DOOMED, _COMMITTING
cdef object _COMMIT, _ROLLBACK, _REFUSE
cdef object _COMMITTED, _NOT_COMMITTED
cdef object _IS_COMMITTED, _IS_NOT_COMMITTED, _IS_UNKNOWN


cdef class Boundary:
    cdef public object state
    cdef public object outcome
    cdef public object cause
    cdef public bint asked
    cdef public bint unexpected

    cpdef committing(self)
    cpdef end(self, object outcome)


cpdef ending(Boundary boundary, object error, object commit_on)
