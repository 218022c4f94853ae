cimport cython
from hermetic.fast.lane cimport Lane
from hermetic.fast.write_plan cimport Plan, Statement

cpdef list _rows(Lane lane, Statement statement, list states, list defaults)
@cython.locals(row=list, index=Py_ssize_t, source=Py_ssize_t)
cdef object _row(Statement statement, dict values, list defaults)
cdef list _defaults(Lane lane, Statement statement, list states)
cdef object _after(Statement statement, object state, dict values, list defaults)
cdef object _take(
    Lane lane, Plan plan, Statement statement, object state, object parameters, object answer
)
@cython.locals(statement=Statement)
cdef object _ask(Lane lane, tuple step)
