from ..pool cimport Admission
from .listening cimport Ear, is_logged


cdef class Side:
    cdef public object engine
    cdef public object dialect
    cdef public object family
    cdef public object driver
    cdef public bint reader
    cdef public object ping_after
    cdef public object begin
    cdef public dict entities
    cdef public dict shapes
    cdef public object session_class
    cdef public dict session_dict
    cdef public bint asynchronous
    cdef public object wire
    cdef public object facade_class
    cdef public dict facade_dict
    cdef public bint limits
    cdef public bint limits_ahead
    cdef public object options
    cdef public bint one_step
    cdef public bint apart
    cdef Ear _statements
    cdef object _pool
    cdef Ear _lending
    cdef public list idle
    cdef public Admission admission
    cdef public bint told_by_probe

    cpdef bint watched(self)
    cpdef pool(self)
    cpdef bint met(self)
    cpdef entity(self, object entity)


cpdef Side side_of(object bind)
