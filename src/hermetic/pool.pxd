cimport cython

from .gate cimport Gate, Ticket


cdef class Admission:
    cdef public Gate gate
    cdef public object timeout
    cdef public object asynchronous
    cdef public object reads_beside
    cdef public object collected
    cdef public bint closed

    cpdef enter_for(self, object scope)
    cpdef leave(self, Ticket ticket)


cdef class Label:
    cdef object _owner
    cdef object _scope
