cimport cython

from ..registry cimport Registry, Scope
from ..trace cimport Trace
from .series cimport Series, Timeline
from .sink cimport tell_ended, tell_opened

cdef class Watcher:
    cdef object __weakref__
    cdef public Registry registry
    cdef public object options
    cdef public object findings
    cdef public tuple recorders
    cdef public tuple sinks
    cdef public tuple told_opened
    cdef public tuple told_ended
    cdef public object commenter
    cdef public bint wants_contexts
    cdef public bint tells_opened
    cdef public object at_work
    cdef public bint looks
    cdef Py_ssize_t _keep
    cdef Py_ssize_t _steps
    cdef Py_ssize_t _repeats
    cdef Py_ssize_t _chatty
    cdef double _slow_seconds
    cdef public object _lock
    cdef object _look
    cdef bint _armed
    cdef object _pending
    cdef object _recent
    cdef object _slow
    cdef object _failed
    cdef Timeline _whole
    cdef dict _names

    @cython.locals(trace=Trace)
    cpdef opened(self, Scope scope)
    cpdef closed(self, Trace trace)
    cpdef count(self)

    @cython.locals(own=double, line=Timeline)
    cdef _count(self, Trace trace)
    cdef Timeline _line_of(self, Trace trace)
