cimport cython

from .gate cimport Gate, Ticket, Waiter
from .owner cimport Owner, current_owner
from .registry cimport Scope


cdef class Label


cdef class Admission:
    cdef public Gate gate
    cdef public double timeout
    cdef public bint asynchronous
    cdef public bint reads_beside
    cdef public double collected
    cdef public bint closed

    cpdef enter_for(self, Scope scope)
    cpdef enter_now(self, Scope scope, double now)

    @cython.locals(owner=Owner, label=Label, ticket=Ticket)
    cpdef ask(self, Scope scope, double now)
    cpdef leave(self, Ticket ticket)


cdef class Label:
    cdef Owner _owner
    cdef Scope _scope
