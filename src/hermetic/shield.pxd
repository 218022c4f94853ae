cdef object _woken_by(object waited)
