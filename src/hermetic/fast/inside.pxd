cimport cython

from ..connection cimport ConnectionRecord, Transaction
from ..registry cimport Scope
from .side cimport Side


cpdef bint takes_none(object transaction)

@cython.locals(transaction=Transaction)
cpdef bint reads_inside(object session, Scope scope, Side side)

cpdef bint reads_inside_unbegun(
    object session, Scope scope, ConnectionRecord connection, Side side
)
