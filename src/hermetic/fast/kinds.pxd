cdef class Kind:
    cdef object reference
    cdef readonly tuple collections
    cdef readonly bint binds, reads, writes, adds


cdef dict _kinds

cpdef Kind kind_of(object class_)
