cimport cython
from hermetic.fast.lane cimport Lane
from hermetic.fast.write_plan cimport Plan, Statement

@cython.locals(
    keys=list, start=Py_ssize_t, size=Py_ssize_t, values=dict, number=Py_ssize_t, sql=object
)
cdef object _by_rows(
    Lane lane, Plan plan, Statement statement, Statement one, list states, list rows
)
@cython.locals(values=dict, number=Py_ssize_t, processors=list)
cdef object _take(Lane lane, Plan plan, Statement statement, list states, list rows, object cursor)
