cimport cython

from .instances cimport EntityLoader, make
from .lean cimport instance_of
from .plans cimport Entity


cdef class Rows:
    cdef public Entity entity
    cdef public object identity_map
    cdef public object metadata
    cdef public object rows
    cdef public object session
    cdef public bint uniquing
    cdef public Py_ssize_t used

    cpdef list made(self, object rows, object runid)
    cpdef list taken(self, Py_ssize_t used)
    cpdef loader(self, object runid)


cpdef executed(object session, Entity entity, object metadata, object rows)

cpdef scalars(object session, Entity entity, object metadata, object rows)

@cython.locals(values=dict)
cdef _scalars(Rows found, object of)

@cython.locals(found=Rows)
cdef _fresh(object result)

@cython.locals(values=dict, found=Rows)
cdef _fresh_scalars(object result)

@cython.locals(rows=Rows, there=Py_ssize_t, objects=list)
cdef _asked(object result, object name, Py_ssize_t most, bint none_is_fine, object found)
