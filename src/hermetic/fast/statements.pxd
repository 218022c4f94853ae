cimport cython

from .plans cimport Entity
from .side cimport Side


cdef class Shape:
    cdef public object compiled
    cdef public object construct
    cdef public Entity entity
    cdef public tuple held
    cdef public Py_ssize_t many
    cdef public object metadata
    cdef public bint named
    cdef public list slots
    cdef public object sql

    cpdef parameters(self, list values)


@cython.locals(side=Side)
cpdef execute(object session, object statement)

@cython.locals(values=list)
cpdef sought(Side side, object statement)

@cython.locals(made=Rows)
cpdef result_of(object session, object shape, object rows)


cdef class Rows:
    cdef public Entity entity
    cdef public object identity_map
    cdef public object rows
    cdef public object session
    cdef public bint uniquing


@cython.locals(parts=dict, key=list)
cdef _key(object statement, list values)

cdef bint _criterion(object criterion, list key, list values)

cdef bint _ordering(dict parts, list key, list values)
