cdef class Transaction:
    cdef public bint apart
    cdef public bint begun
    cdef public bint commit_sent
    cdef public bint committed
    cdef public object depth
    cdef public bint entered
    cdef public object failure
    cdef public object fault
    cdef public bint gone
    cdef public bint in_hand
    cdef public bint late
    cdef public object limit
    cdef public bint over
    cdef public bint plain
    cdef public bint put_off
    cdef public bint rolling_back
    cdef public object savepoints
    cdef public Py_ssize_t statements
    cdef public bint unsure

    cpdef begin_now(self)


cdef class ConnectionRecord:
    cdef public object abandon
    cdef public object alarm
    cdef public bint at_rest
    cdef public object backend
    cdef public bint beside
    cdef public object born
    cdef public object break_off
    cdef public object cursor
    cdef public bint dirty
    cdef public object engine
    cdef public object exchanges
    cdef public double expires
    cdef public object family
    cdef public Py_ssize_t generation
    cdef public object pool_record
    cdef public object last_statement
    cdef public object number
    cdef public object owner
    cdef public object probe
    cdef public bint puts_off
    cdef public bint ready
    cdef public object remains
    cdef public bint retired
    cdef public object returned
    cdef public object role
    cdef public object scope
    cdef public object server
    cdef public object transaction
    cdef public object world
