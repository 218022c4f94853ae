from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

cdef extern from "Python.h":
    ctypedef struct CFrame "PyFrameObject":
        pass

    ctypedef struct CCode "PyCodeObject":
        PyObject* co_filename

    CFrame* PyEval_GetFrame() noexcept
    CCode* PyFrame_GetCode(CFrame*) noexcept
    int PyFrame_GetLasti(CFrame*) noexcept
    Py_ssize_t PyUnicode_Tailmatch(
        object text, object part, Py_ssize_t start, Py_ssize_t stop, int direction
    ) except -1


cdef inline object this_frame():
    cdef CFrame* frame = PyEval_GetFrame()
    return None if frame == NULL else <object> <PyObject*> frame


cdef inline object code_of(object frame):
    cdef CCode* code = PyFrame_GetCode(<CFrame*> <PyObject*> frame)
    cdef object found = <object> <PyObject*> code
    Py_DECREF(found)
    return found


cdef inline int instruction_of(object frame):
    return PyFrame_GetLasti(<CFrame*> <PyObject*> frame)


# whether a file is one of a package's
cdef inline bint is_ours(object code, object package) except -1:
    return PyUnicode_Tailmatch(
        <object> (<CCode*> <PyObject*> code).co_filename, package, 0, 0x7fffffff, -1
    )


cdef object _PACKAGE


cdef class Place:
    cdef public object _code
    cdef public int _at


cpdef object caller_frame()
