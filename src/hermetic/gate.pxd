cdef class Ticket:
    cdef object __weakref__
    cdef public object entry
    cdef public object holder
    cdef public object label
    cdef public object since
