cdef class Transaction:
    cdef public object apart
    cdef public object begun
    cdef public object commit_sent
    cdef public object committed
    cdef public object depth
    cdef public object entered
    cdef public object failure
    cdef public object fault
    cdef public object gone
    cdef public object in_hand
    cdef public object late
    cdef public object limit
    cdef public object over
    cdef public object plain
    cdef public bint put_off
    cdef public object rolling_back
    cdef public object savepoints
    cdef public Py_ssize_t statements
    cdef public object unsure

    cpdef begin_now(self)


cdef class ConnectionRecord:
    cdef public object abandon
    cdef public object alarm
    cdef public object at_rest
    cdef public object beside
    cdef public object born
    cdef public object break_off
    cdef public object cursor
    cdef public object dirty
    cdef public object engine
    cdef public object family
    cdef public object pool_record
    cdef public object last_statement
    cdef public object number
    cdef public object owner
    cdef public object probe
    cdef public bint puts_off
    cdef public object ready
    cdef public object returned
    cdef public object role
    cdef public object scope
    cdef public object server
    cdef public object started
    cdef public object transaction
    cdef public object world
