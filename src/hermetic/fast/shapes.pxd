from .plans cimport Entity


cdef class Shape:
    cdef public object compiled
    cdef public list constants
    cdef public object construct
    cdef public Entity entity
    cdef public tuple held
    cdef public Py_ssize_t many
    cdef public object metadata
    cdef public bint named
    cdef public list slots
    cdef public object sql

    cpdef parameters(self, list values)
