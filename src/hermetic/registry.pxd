cimport cython

from .boundary cimport Boundary
from .connection cimport ConnectionRecord, Transaction
from .owner cimport Owner, current_owner
from .place cimport Place

cdef object _DOOMED, _JOIN, _COMMITTED


cdef class Registry


cdef class Scope:
    cdef object __weakref__
    cdef public Owner _owner
    cdef public Scope _root
    cdef public bint asks
    cdef public bint asynchronous
    cdef public object attempt
    cdef public object borrower
    cdef public Boundary boundary
    cdef public bint cancelled
    cdef public ConnectionRecord connection
    cdef public object deadline
    cdef public bint ended
    cdef public bint ending
    cdef public object entry
    cdef public object facade
    cdef public bint failed
    cdef public object given_timeout
    cdef public bint handed
    cdef public object hook_errors
    cdef public object hook_keys
    cdef public list hooks
    cdef public bint in_hand
    cdef public Boundary innermost
    cdef public bint interruptible
    cdef public object last_statement
    cdef public bint left
    cdef public object lent
    cdef public object number
    cdef public object options
    cdef public object outer_deadline
    cdef public Scope parent
    cdef public Boundary parent_boundary
    cdef public object parent_savepoint
    cdef public Place place
    cdef public object proof
    cdef public bint readonly
    cdef public Registry registry
    cdef public bint rerun
    cdef public tuple reserved
    cdef public object route
    cdef public object savepoint
    cdef public double seconds
    cdef public object session
    cdef public object side
    cdef public double started
    cdef public Py_ssize_t statements
    cdef public tuple ticket
    cdef public object trace
    cdef public Transaction transaction
    cdef public object tenant
    cdef public tuple settings
    cdef public object unit
    cdef public bint watches_savepoints

    cpdef Owner holder(self)

    @cython.locals(owner=Owner)
    cpdef check_owner(self)
    cpdef check_statement(self)

    @cython.locals(doomed=Boundary)
    cpdef check_sending(self)
    cpdef forget(self)


cdef class Registry:
    cdef object __weakref__
    cdef public object name
    cdef public object family
    cdef public dict scopes
    cdef public dict connections
    cdef public object gates
    cdef public dict counters
    cdef public bint reads_apart
    cdef public bint has_tenants
    cdef public tuple listeners
    cdef public list on_empty
    cdef public object after_fork
    cdef public list inherited
    cdef public object resolver
    cdef public object servers
    cdef public object watch

    cpdef opened(self, Scope scope)
    cpdef closed(self, Scope scope)
