cimport cython

@cython.locals(known=dict, pk_props=tuple, values=dict, key=tuple)
cdef bint _is_plain(object session, object work) except -1
@cython.locals(
    known=dict, pk_props=tuple, values=dict, key=tuple, modified=set, new=dict, committed=dict,
    expired=set, collections=bint, noted_new=dict, noted_dirty=dict,
)
cdef object _register(object session, object transaction, object work)
