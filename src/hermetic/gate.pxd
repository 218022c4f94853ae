cdef class Ticket:
    cdef public object holder
    cdef public object label
    cdef public object since
