cimport cython

from .boundary cimport ending
from .current cimport innermost, leave, make_current, open_scope
from .ending cimport end
from .fast.fresh cimport new_session, remember_session
from .fast.lean cimport is_clean
from .fast.side cimport Side
from .trace cimport is_due
from .registry cimport Registry, Scope

cdef object _JOIN, _SAVEPOINT, _PLAIN, _TRANSACTION
cdef object _COMMIT
cdef object _REQUIRED
cdef object _now


@cython.locals(scope=Scope, parent=Scope, outer=Scope, root=Scope, registry=Registry, now=double)
cpdef Scope begin(object database, object options, object place, bint asynchronous, object deadline)

cdef Scope _joined(Scope outer, bint asynchronous)

@cython.locals(side=Side)
cdef _equip(object database, Scope scope, bint asynchronous)

@cython.locals(scope=Scope)
cpdef Scope begin_sync(object database, object options, object place, object deadline=*)

cpdef end_sync(Scope scope, object error, object cleanup_timeout)

@cython.locals(registry=Registry)
cdef _finished(Scope scope, object error)
