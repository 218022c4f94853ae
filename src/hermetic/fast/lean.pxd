cimport cython

from ..connection cimport ConnectionRecord, Transaction
from ..gate cimport Gate, Ticket
from .counts cimport count
from .fresh cimport keep_listed
from .inside cimport reads_inside, takes_none
from .instances cimport furnish, lacks, make, single, values_of
from ..pool cimport Admission
from ..registry cimport Scope
from ..trace cimport Trace
from .kinds cimport Kind, kind_of
from .listening cimport is_heard
from .plans cimport Entity
from .side cimport Side, side_of


cdef object _boolean, _State, _IdentityMap, _KEYS, _now, forget
cdef dict _listed


@cython.locals(plan=Entity, key=tuple, known=dict)
cpdef sought(object session, Side side, object entity, object ident)

@cython.locals(side=Side, plan=Entity)
cpdef get(object session, object entity, object ident)

@cython.locals(scope=Scope)
cpdef Side prepared(object session)

@cython.locals(scope=Scope, connection=ConnectionRecord)
cpdef rows_of(object session, Side side, Entity plan, object asked, object parameters)

@cython.locals(kind=Kind)
cpdef bint may_run(object session, Side side, Entity plan)

@cython.locals(connection=ConnectionRecord)
cpdef ConnectionRecord in_hand(object session, Scope scope, Side side)

@cython.locals(
    connection=ConnectionRecord, now=double, asked=double, admission=Admission, idle=list, trace=Trace
)
cpdef ConnectionRecord take(object session, Scope scope, Side side)

cpdef bint is_fit(ConnectionRecord connection, object entry, Side side, double now)

@cython.locals(transaction=Transaction)
cdef bint _begin(Scope scope, Side side, ConnectionRecord connection)

@cython.locals(transaction=Transaction, trace=Trace)
cpdef fetch(object session, Scope scope, Side side, ConnectionRecord connection, Entity plan, object sql, object parameters)

@cython.locals(transaction=Transaction)
cpdef told(Side side, Scope scope, ConnectionRecord connection, object cursor, object sql)

cpdef bint may_hold(Scope scope, Side side)

@cython.locals(found=list, at=Py_ssize_t, processors=list)
cdef list processed(Entity plan, object row)

@cython.locals(key=tuple, values=dict, known=dict, has=dict, inside=dict, at=Py_ssize_t)
cpdef instance_of(object identity_map, object session, Entity plan, object row, object runid)


@cython.locals(connection=ConnectionRecord, transaction=Transaction, side=Side, none=bint)
cpdef bint commit(object session, Scope scope)

cpdef forget_begun(object session)

cpdef bint gave_up(Side side, ConnectionRecord connection, object dbapi, bint worked) except -1

@cython.locals(values=dict)
cpdef bint may_close(object session)

@cython.locals(states=dict, values=dict)
cpdef close(object session, Scope scope)

@cython.locals(connection=ConnectionRecord, gate=Gate, ticket=Ticket, side=Side, now=double)
cpdef give_back(Scope scope)

@cython.locals(side=Side, transaction=Transaction)
cpdef bint commits_in_one_step(Scope scope)

cpdef put_back(object pool, object entry, Admission admission, object ticket)

@cython.locals(values=dict)
cpdef bint is_clean(object session)
