cimport cython

@cython.locals(parts=list)
cpdef object _literal(list column, int kind, object limit)
cdef str _quoted(str value)
