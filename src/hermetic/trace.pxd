cimport cython

from .connection cimport ConnectionRecord
from .registry cimport Scope


cdef class Trace:
    cdef public double at
    cdef public object attempt
    cdef public Py_ssize_t base
    cdef public object before
    cdef public double began
    cdef public Py_ssize_t chatty
    cdef public object code
    cdef public object comment
    cdef public object context
    cdef public list contexts
    cdef public dict counts
    cdef public object due
    cdef public double ended
    cdef public object error
    cdef public dict failures
    cdef public Py_ssize_t kept
    cdef public double left
    cdef public object meter
    cdef public object name
    cdef public object notes
    cdef public object number
    cdef public object options
    cdef public object outcome
    cdef public object place
    cdef public bint readonly
    cdef public object remark
    cdef public Py_ssize_t repeats
    cdef public Py_ssize_t round_trips
    cdef public object route
    cdef public Py_ssize_t rows
    cdef public double seconds
    cdef public double since
    cdef public object sql
    cdef public double started
    cdef public Py_ssize_t statements
    cdef public list steps
    cdef public bint streams
    cdef public object task
    cdef public object tenant
    cdef public object thread
    cdef public object told
    cdef public bint uncounted
    cdef public double waited
    cdef public object watcher
    cdef public double working

    cpdef sent(self, Scope scope, object sql)
    cpdef answered(self, Py_ssize_t rows)
    cpdef fetched(self, Py_ssize_t step, Py_ssize_t rows)
    cpdef meet(self, ConnectionRecord connection)
    cpdef look(self)

    @cython.locals(kept=Py_ssize_t, now=double)
    cpdef failed(self)
    cpdef faulted(self, object code)
    cdef _keep(self, double answered, Py_ssize_t rows)
    cpdef unsent(self)
    cpdef raise_due(self)
    cpdef close(self, Scope scope, object error)
    cpdef describe(self, Scope scope)


cpdef bint is_due(Scope scope)
