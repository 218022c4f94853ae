# The C side of filling.py.
cimport cython

from .instances cimport EntityLoader, make, pause, resume


cdef object _Adapter, _List, _ref, _extend


cdef class Gatherer:
    cdef EntityLoader loader
    cdef Py_ssize_t size
    cdef readonly dict found

    @cython.locals(loader=EntityLoader, row=tuple, members=list)
    cpdef load(self, list rows)


@cython.locals(plain=bint)
cpdef fill(list parents, object key, dict found, bint whole)

cdef bint _is_plain(object manager, object impl) except -1

cdef int _adapt(object impl, object key, object state, object collection) except -1
