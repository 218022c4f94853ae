cimport cython

from ..trace cimport Trace


cdef class ScopeView:
    cdef readonly Trace _trace


@cython.locals(view=ScopeView)
cpdef tell_opened(object watcher, object scope, Trace trace)

@cython.locals(view=ScopeView)
cpdef tell_ended(object watcher, Trace trace)
