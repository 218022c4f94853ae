cdef dict _counts

cpdef count(object name)
