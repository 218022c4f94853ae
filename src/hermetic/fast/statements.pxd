cimport cython

from .shapes cimport Shape
from .side cimport Side


cdef class Walk:
    cdef public list key
    cdef public list elements
    cdef public list binds
    cdef public list values


cpdef execute(object session, object statement)

cpdef scalars(object session, object statement)

cpdef scalar(object session, object statement)

@cython.locals(side=Side, shape=Shape)
cdef _read(object session, object statement, object result_of)

@cython.locals(walk=Walk)
cpdef sought(Side side, object statement)

@cython.locals(parts=dict, known=Py_ssize_t)
cdef _key(object statement, Walk walk)

cdef bint _criterion(object criterion, Walk walk)

cdef bint _column(object element, Walk walk)

cdef bint _comparison(object criterion, Walk walk)

cdef bint _value(object left, object bind, Walk walk)

cdef bint _list(object left, object bind, Walk walk)

cdef bint _is_plain(object left, object bind)

cdef bint _ordering(dict parts, Walk walk)

cdef bint _is_left(object name, dict parts)
