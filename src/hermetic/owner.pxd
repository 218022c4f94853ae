cimport cython

cdef extern from "Python.h":
    ctypedef struct CThread "PyThreadState":
        pass

    CThread* PyThreadState_Get() noexcept
    unsigned long long PyThreadState_GetID(CThread*) noexcept


cdef inline unsigned long long this_thread() noexcept:
    return PyThreadState_GetID(PyThreadState_Get())


cdef Py_ssize_t _forks
cdef Owner _last
cdef object _running_loop


cdef class Owner:
    cdef public object _process
    cdef public object _task
    cdef public object _task_id
    cdef public object thread
    cdef public object thread_id
    cdef unsigned long long _thread
    cdef Py_ssize_t _forks

    cpdef bint is_current(self)


@cython.locals(found=Owner)
cpdef Owner current_owner()
