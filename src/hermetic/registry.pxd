from .boundary cimport Boundary
from .owner cimport Owner


cdef class Scope:
    cdef object __weakref__
    cdef public Owner _owner
    cdef public Scope _root
    cdef public object asynchronous
    cdef public object attempt
    cdef public object borrower
    cdef public Boundary boundary
    cdef public object cancelled
    cdef public object connection
    cdef public object deadline
    cdef public bint ended
    cdef public object ending
    cdef public object entry
    cdef public object facade
    cdef public object failed
    cdef public object given_timeout
    cdef public object handed
    cdef public object hook_errors
    cdef public object hooks
    cdef public bint in_hand
    cdef public Boundary innermost
    cdef public object interruptible
    cdef public object last_statement
    cdef public bint left
    cdef public object lent
    cdef public object name
    cdef public object number
    cdef public object options
    cdef public object outer_deadline
    cdef public object parent
    cdef public Boundary parent_boundary
    cdef public object parent_savepoint
    cdef public object place
    cdef public object readonly
    cdef public object registry
    cdef public object rerun
    cdef public object reserved
    cdef public object savepoint
    cdef public object seconds
    cdef public object session
    cdef public object side
    cdef public double started
    cdef public Py_ssize_t statements
    cdef public object ticket
    cdef public object transaction
    cdef public object unit
    cdef public object watches_savepoints

    cpdef check_owner(self)
    cpdef check_statement(self)


cdef class Registry:
    cdef object __weakref__
    cdef public object name
    cdef public object family
    cdef public dict scopes
    cdef public object connections
    cdef public object gates
    cdef public dict counters
    cdef public object reads_apart
    cdef public object listeners
    cdef public object on_empty
    cdef public object after_fork

    cpdef opened(self, Scope scope)
    cpdef closed(self, Scope scope)
