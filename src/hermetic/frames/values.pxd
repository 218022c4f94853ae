# The C side of values.py.
cimport cython
from cpython.unicode cimport PyUnicode_DecodeUTF8

ctypedef const unsigned char[::1] Bytes
ctypedef const int[::1] Offsets


cdef inline bint is_there(Bytes bits, Py_ssize_t row) noexcept:
    return bits[row >> 3] >> (row & 7) & 1


cdef inline str text_at(Bytes data, Py_ssize_t start, Py_ssize_t length):
    if length == 0:
        return ""
    return PyUnicode_DecodeUTF8(<const char*> &data[start], length, NULL)


@cython.locals(row=Py_ssize_t, found=list)
cpdef list texts(Bytes valid, Py_ssize_t offset, Py_ssize_t rows, Offsets offsets, Bytes data)

@cython.locals(row=Py_ssize_t, found=list, there=bint)
cpdef list wholes(Bytes valid, Py_ssize_t offset, Py_ssize_t rows, const long long[::1] data)

@cython.locals(row=Py_ssize_t, found=list, there=bint)
cpdef list floats(Bytes valid, Py_ssize_t offset, Py_ssize_t rows, const double[::1] data)
