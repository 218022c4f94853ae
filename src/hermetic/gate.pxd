cimport cython


cdef class Ticket:
    cdef object __weakref__
    cdef public object entry
    cdef public object holder
    cdef public object label
    cdef public object since


cdef class Waiter:
    cdef object __weakref__
    cdef public object _place
    cdef public object _ticket
    cdef public object admitted
    cdef public object entry
    cdef public object holder
    cdef public object since
    cdef public object wake


cdef class Gate:
    cdef object __weakref__
    cdef public object name
    cdef public object limit
    cdef public object max_waiting
    cdef public object counters
    cdef public object _lock
    cdef public dict _out
    cdef public dict _queue

    @cython.locals(ticket=Ticket, waiter=Waiter)
    cpdef enter(self, object holder, object label, object now, object make_wake)
    cpdef leave(self, Ticket ticket, object now)
