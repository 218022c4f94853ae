cimport cython

from .registry cimport Scope


cdef class Block:
    cdef object __weakref__
    cdef public object _cleanup
    cdef public object _database
    cdef public dict _open
    cdef public object _options
    cdef public bint _retry_given

    cdef _opened(self, Scope scope)

    @cython.locals(scope=Scope)
    cdef Scope _find(self)
