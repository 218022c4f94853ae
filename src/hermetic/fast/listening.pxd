cimport cython

cdef dict _collections

cpdef bint is_silent(object listeners)

cpdef bint is_alone(object listeners)

cpdef bint is_logged(object engine)

@cython.locals(found=list, held=dict)
cpdef bint is_heard(object session)
