cimport cython

from .registry cimport Scope


cpdef end(Scope scope, object error, object cleanup_timeout)

cdef _end_root(Scope scope, object error, object cleanup_timeout)

cdef _finish(Scope scope, object error, object raised, object how, object cleanup_timeout)

cpdef end_sent(Scope scope, object struck, object cleanup_timeout)

cdef _prepare(Scope scope)

cdef _commit(Scope scope)

cdef _clean_up(Scope scope, object error, object cleanup_timeout, bint rollback)
