cimport cython

from .kinds cimport kind_of

@cython.locals(new=dict, known=dict, relations=tuple, hurried=bint)
cpdef add_all(object session, object instances)
cdef bint _may_hurry(object session) except -1
cdef bint _relates(object state, dict values, tuple relations) except -1
