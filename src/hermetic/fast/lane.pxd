from hermetic.fast.write_plan cimport Statement

cdef class Lane:
    cdef public object session, dialect, connection, record, scope, side
    cdef public bint awaited
    cpdef full(self)
    cpdef fail(self, object error, object sql, object parameters, object cursor, object context)
    cpdef close(self, object cursor)

cpdef send(
    Lane lane, Statement statement, object sql, object parameters, bint many, object shown=*
)
cdef object _send_in_hand(Lane lane, object sql, object parameters, bint many, object shown, bint returns)
