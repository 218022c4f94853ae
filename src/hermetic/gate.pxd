cimport cython
from cpython.weakref cimport PyWeakref_NewRef as weak

cdef bint _UNDIVIDED


cdef class Ticket:
    cdef object __weakref__
    cdef public object entry
    cdef public object holder
    cdef public object label
    cdef public double since


cdef class Waiter:
    cdef object __weakref__
    cdef public object _place
    cdef public object _ticket
    cdef public object admitted
    cdef public object entry
    cdef public object holder
    cdef public bint shed
    cdef public double since
    cdef public object wake


cdef class GateCounters:
    cdef public Py_ssize_t admitted
    cdef public Py_ssize_t waited
    cdef public Py_ssize_t refused
    cdef public Py_ssize_t shed
    cdef public Py_ssize_t timed_out
    cdef public double wait_seconds


cdef class Gate:
    cdef object __weakref__
    cdef public object name
    cdef public Py_ssize_t limit
    cdef public object max_waiting
    cdef public Py_ssize_t reserve
    cdef public double shed_after
    cdef public object budget
    cdef public bint suspended
    cdef public GateCounters counters
    cdef public object _lock
    cdef public dict _out
    cdef public dict _queue
    cdef public dict _urgent
    cdef Py_ssize_t _open
    cdef double _least
    cdef double _until
    cdef bint _slow
    cdef object _told

    @cython.locals(ticket=Ticket, admitted=bint)
    cpdef Ticket enter_at_once(self, object holder, object label, double now)

    @cython.locals(ticket=Ticket, waiter=Waiter)
    cpdef enter(self, object holder, object label, double now, object make_wake, bint priority=*)
    cpdef leave(self, Ticket ticket, double now)
    cdef bint _admitted(self, object entry) except -1
    cdef bint _struck_out(self, object entry) except -1
