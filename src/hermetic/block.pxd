cimport cython

from .current cimport innermost
from .place cimport Place, caller_frame
from .registry cimport Scope
from .scope cimport begin_sync, end_sync


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
