cimport cython

from ..connection cimport ConnectionRecord, Transaction
from ..gate cimport Gate, Ticket, Waiter
from ..pool cimport Admission
from ..registry cimport Scope
from ..trace cimport is_due
from .inside cimport reads_inside_unbegun, takes_none
from .lean cimport instance_of, is_clean, is_fit, may_run, put_back, sought
from .listening cimport is_heard
from .plans cimport Entity
from .side cimport Side


@cython.locals(scope=Scope)
cpdef Side side_of_scope(object session)

@cython.locals(transaction=Transaction)
cpdef Transaction begun_by(Scope scope, ConnectionRecord connection, Side side)

@cython.locals(side=Side)
cpdef bint may_end(Scope scope, object error)

cpdef bint may_commit(Scope scope, object error)

@cython.locals(connection=ConnectionRecord)
cpdef bint may_close(Scope scope)

cpdef remember_facade(Side side, object facade)

@cython.locals(values=dict)
cpdef new_facade(Side side, object session)
