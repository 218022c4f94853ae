# The C side of gathering.py.
cimport cython
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.tuple cimport PyTuple_GET_ITEM
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memcpy

ctypedef unsigned char[::1] Space
ctypedef int[::1] Ints
ctypedef long long[::1] Longs
ctypedef double[::1] Doubles


cdef inline Py_ssize_t size_of(object value) except -1:
    cdef Py_ssize_t size = 0
    PyUnicode_AsUTF8AndSize(value, &size)
    return size


cdef inline Py_ssize_t put_text(Space out, Py_ssize_t at, object value) except -1:
    cdef Py_ssize_t size = 0
    cdef const char* text = PyUnicode_AsUTF8AndSize(value, &size)
    if size:
        memcpy(&out[at], text, size)
    return size


@cython.locals(row=Py_ssize_t, each=tuple, value=object)
cpdef Py_ssize_t wholes(list rows, Py_ssize_t column, Space bits, Longs out)

@cython.locals(row=Py_ssize_t, each=tuple, value=object)
cpdef Py_ssize_t floats(list rows, Py_ssize_t column, Space bits, Doubles out)

@cython.locals(row=Py_ssize_t, each=tuple, value=object, total=Py_ssize_t)
cpdef Py_ssize_t measure(list rows, Py_ssize_t column, Space bits, Ints offsets)

@cython.locals(row=Py_ssize_t, each=tuple, value=object, at=Py_ssize_t)
cpdef object texts(list rows, Py_ssize_t column, Space out)
