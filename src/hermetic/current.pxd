cimport cython
from cpython.contextvars cimport PyContextVar_Get, PyContextVar_Set
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from .registry cimport Scope


# of a variable that has a default
cdef inline object get_value(object variable):
    cdef PyObject* found = NULL
    PyContextVar_Get(variable, NULL, &found)
    cdef object value = <object> found
    Py_DECREF(value)
    return value


cdef inline int set_value(object variable, object scope) except -1:
    PyContextVar_Set(variable, scope)
    return 0


cdef object _current_scope

cpdef Scope innermost()

cpdef bint is_over(Scope scope)

@cython.locals(scope=Scope)
cpdef Scope open_scope(object registry)

cpdef make_current(Scope scope)

@cython.locals(parent=Scope)
cpdef leave(Scope scope)
