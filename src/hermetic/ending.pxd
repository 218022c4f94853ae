cimport cython

from .boundary cimport Boundary, ending
from .fast.lean cimport close as close_shortly
from .fast.lean cimport commit as commit_in_hand
from .fast.lean cimport commits_in_one_step, forget_begun, is_clean, may_close
from .fast.fresh cimport keep_listed
from .fast.listening cimport is_heard
from .owner cimport Owner
from .registry cimport Scope
from .trace cimport is_due

cdef object _JOIN, _SAVEPOINT, _PLAIN, _TRANSACTION
cdef object _COMMIT, _ROLLBACK, _REFUSE
cdef object _COMMITTED, _NOT_COMMITTED, _UNKNOWN
cdef object _DOOMED


@cython.locals(root=Scope, owner=Owner)
cpdef end(Scope scope, object error, object cleanup_timeout)

cdef _end_root(Scope scope, object error, object cleanup_timeout)

cdef _carry_out(Scope scope, object error, object raised, object how, object cleanup_timeout)

cdef _finish(Scope scope, object error, object raised, object how, object cleanup_timeout)

cpdef end_sent(Scope scope, object struck, object cleanup_timeout)

cdef _prepare(Scope scope)

cdef _flush(Scope scope)

cdef _commit(Scope scope)

cdef _clean_up(Scope scope, object error, object cleanup_timeout, bint rollback)
