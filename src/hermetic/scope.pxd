cimport cython

from .registry cimport Scope


@cython.locals(scope=Scope)
cpdef Scope begin(object database, object options, object place, bint asynchronous, object deadline)

cdef Scope _joined(Scope outer, object asynchronous)

cdef _equip(object database, Scope scope, bint asynchronous)

@cython.locals(scope=Scope)
cpdef Scope begin_sync(object database, object options, object place, object deadline=*)

cpdef end_sync(Scope scope, object error, object cleanup_timeout)

cdef _finished(Scope scope, object error)
