cimport cython
from hermetic.fast.write_plan cimport Plan, Statement

cdef list _rows(object connection, Statement statement, list states, list defaults)
@cython.locals(row=list, index=Py_ssize_t, source=Py_ssize_t)
cdef object _row(Statement statement, dict values, list defaults)
cdef list _defaults(object connection, Statement statement, list states)
cdef object _after(Statement statement, object state, dict values, list defaults)
cdef object _insert_one(object connection, Plan plan, Statement statement, object state)
cpdef take_returned(object connection, Statement statement, object cursor, dict values, object row)
