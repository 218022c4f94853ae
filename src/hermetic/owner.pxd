cdef class Owner:
    cdef public object _process
    cdef public object _task
    cdef public object _task_id
    cdef public object thread
    cdef public object thread_id

    cpdef bint is_current(self)


cpdef Owner current_owner()
